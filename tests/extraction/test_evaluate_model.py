"""Evaluating is extracting from gold and scoring it: the same answers, whichever command gives them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.factories import TEXTS

import promu
from promu.cli import main
from promu.corpora.conll import write_conll
from promu.corpora.jmere import read_jmere, write_jmere
from promu.errors import InputError
from promu.evaluation.ner import score_entities
from promu.schema import Entity, Post, Relation
from promu.tasks.model_folder import open_predictor
from promu.tasks.task import TASKS

TWO = (Entity(0, 1, "per"), Entity(2, 3, "misc"))
JOINT = [
    Post(str(number), tuple(text.split()), f"{number}.jpg", TWO, (Relation(0, 1, "awarded"),))
    for number, text in enumerate((*TEXTS, " ".join(TEXTS[:2])))
]
NER = [Post(post.id, post.tokens, post.image, (Entity(0, 1, "PER"), Entity(2, 3, "MISC"))) for post in JOINT]


@pytest.fixture(scope="module")
def photos(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images under the names that CoNLL's format asks for."""
    folder = tmp_path_factory.mktemp("photos")
    for file in images.iterdir():
        (folder / file.with_suffix(".jpg").name).symlink_to(file)
    return folder


@pytest.mark.parametrize("task", ["ner", "joint"])
def test_evaluate_and_extract_give_the_same_answers(
    task: str, tiny_models: Path, tiny_joint: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_models / "ner" if task == "ner" else tiny_joint
    gold, predictions = tmp_path / "gold.txt", tmp_path / "predictions.txt"
    posts = tmp_path / "posts.jsonl"
    if task == "ner":
        write_conll(gold, NER)
    else:
        write_jmere(gold, JOINT)
    records = ({"id": post.id, "tokens": post.tokens, "image": post.image} for post in NER)
    posts.write_text("".join(json.dumps(record) + "\n" for record in records))
    common = ["--images", str(photos)]
    words = ["evaluate", task, str(model), "--data", str(gold), *common, "--predictions", str(predictions), "--json"]
    assert main(words) == 0
    figures = json.loads(capsys.readouterr().out)
    assert main(["extract", "--model", str(model), "--input", str(posts), *common]) == 0
    extracted = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    evaluated = TASKS[task].read(predictions)
    assert figures["predicted"] > 3 and len(extracted) == len(evaluated) == len(NER)
    for record, post in zip(extracted, evaluated, strict=True):
        entities = [(entity["start"], entity["end"], entity["type"]) for entity in record["entities"]]
        relations = [(entities[r["head"]], entities[r["tail"]], r["type"]) for r in record["relations"]]
        ours = [(entity.start, entity.end, entity.type) for entity in post.entities]
        assert sorted(relations) == sorted((ours[r.head], ours[r.tail], r.type) for r in post.relations)
        if task == "ner":  # a JMERE file names no entity outside of a relation
            assert entities == ours
        else:
            assert set(ours) == {end for head, tail, _ in relations for end in (head, tail)}


def test_a_model_evaluated_from_python(tiny_models: Path, photos: Path, tmp_path: Path) -> None:
    write_conll(tmp_path / "gold.txt", NER)
    result = promu.evaluate(tiny_models / "ner", tmp_path / "gold.txt", images=photos)
    assert result.task == "ner" and (result.with_image, result.as_text, result.missing) == (4, 0, 0)
    gold = TASKS["ner"].read(tmp_path / "gold.txt")
    assert result.scores == score_entities(gold, result.predictions)
    assert result.to_dict()["read"] == {"with image": 4, "as text": 0}
    # a folder of both, a loaded model and posts in memory come to the same
    predictor = open_predictor("ner", tiny_models / "ner")
    for model, task in ((tiny_models, "ner"), (predictor, None)):
        again = promu.evaluate(model, gold, task, images=photos, batch_size=1)
        assert again.scores == result.scores
    blind = promu.evaluate(predictor, tmp_path / "gold.txt", format="conll")
    assert (blind.with_image, blind.as_text, blind.missing) == (0, 4, 0) and blind.predictions != result.predictions


def test_missing_images_are_counted_or_refused(tiny_models: Path, photos: Path) -> None:
    posts = [*NER[:2], Post("x", ("Ann",), "gone.jpg")]
    with pytest.raises(InputError, match=r"gone\.jpg: no such image"):
        promu.evaluate(tiny_models, posts, "ner", images=photos)
    result = promu.evaluate(tiny_models, posts, "ner", images=photos, missing_images="text-only")
    assert (result.with_image, result.as_text, result.missing) == (2, 1, 1)


def test_two_models_are_a_joint_system(tiny_models: Path, photos: Path, tmp_path: Path) -> None:
    write_jmere(tmp_path / "gold.json", JOINT)
    extractor = promu.Extractor.from_pretrained(tiny_models)
    results = [
        promu.evaluate(model, tmp_path / "gold.json", "joint", images=photos) for model in (tiny_models, extractor)
    ]
    assert results[0].scores == results[1].scores and results[0].with_image == 4
    assert [post.tokens for post in results[0].predictions] == [
        post.tokens for post in read_jmere(tmp_path / "gold.json")
    ]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"task": None}, "holds models for ner and re; name the task"),
        ({"task": "mner"}, "there is no task 'mner'; there are ner, re, joint"),
        ({"batch_size": 0}, "batch_size= is 0; at least 1"),
        ({"images": "nowhere"}, "nowhere: no such folder of images"),
        ({"groups": {}}, "group"),
    ],
)
def test_what_cannot_be_evaluated(change: dict[str, Any], sentence: str, tiny_models: Path) -> None:
    with pytest.raises(InputError, match=sentence):
        promu.evaluate(tiny_models, NER, **{"task": "ner", **change})


def test_a_threshold_is_used_where_it_is_asked_for_and_said(
    tiny_models: Path, tiny_joint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictor = open_predictor("ner", tiny_models / "ner")
    plain = promu.evaluate(predictor, NER)
    assert plain.threshold is None and plain.fitted == 0.0
    scores = sorted(one.score or 0.0 for post in plain.predictions for one in post.entities)
    predictor.config.entity_threshold = middle = scores[len(scores) // 2]
    assert promu.evaluate(predictor, NER).scores == plain.scores, "published figures are of all answers"
    fitted = promu.evaluate(predictor, NER, threshold="fitted")
    assert fitted.threshold == fitted.fitted == middle
    assert fitted.scores.micro.predicted == sum(score >= middle for score in scores) < len(scores)
    assert promu.evaluate(predictor, NER, threshold=middle).scores == fitted.scores
    assert fitted.curve == plain.curve and plain.curve[-1].f1 == pytest.approx(plain.scores.micro.f1)
    record = fitted.to_dict()
    assert (record["threshold"], record["fitted_threshold"]) == (middle, middle) and len(record["curve"]) > 3
    with pytest.raises(InputError, match=r"threshold= is 1.5; a score is from 0 to 1"):
        promu.evaluate(predictor, NER, threshold=1.5)
    with pytest.raises(InputError, match="two thresholds"):
        promu.evaluate(tiny_models, JOINT, "joint", threshold=0.5)

    write_conll(tmp_path / "gold.txt", NER)
    words = ["evaluate", "ner", str(tiny_models / "ner"), "--data", str(tmp_path / "gold.txt"), "--json"]
    assert main([*words, "--threshold", "0.4", "--report", str(tmp_path / "page.html")]) == 0
    assert "By threshold" in (tmp_path / "page.html").read_text(encoding="utf-8")
    printed, said = capsys.readouterr()
    assert json.loads(printed)["threshold"] == 0.4 and "answers below the threshold (0.400) are left out" in said


def test_a_pipeline_is_scored_without_thresholds_unless_they_are_asked_for(tiny_models: Path) -> None:
    predictors = [open_predictor(task, tiny_models / task, "cpu") for task in ("ner", "re")]
    everything = promu.evaluate(promu.Extractor(*predictors), JOINT).predictions
    predictors[0].config.entity_threshold, predictors[1].config.relation_threshold = 0.45, 0.3
    extractor = promu.Extractor(*predictors)
    assert promu.evaluate(extractor, JOINT).predictions == everything
    fitted = promu.evaluate(extractor, JOINT, threshold="fitted")
    assert fitted.threshold == "fitted" and fitted.predictions != everything
    for post in fitted.predictions:
        assert all((one.score or 0) >= 0.45 for one in post.entities)
        assert all((one.score or 0) >= 0.3 for one in post.relations)
