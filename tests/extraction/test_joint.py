"""Entities and relations in one pass, and two models one after the other on the same set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.factories import TEXTS

from promu.cli import main
from promu.corpora.jmere import read_jmere, write_jmere
from promu.errors import InputError
from promu.evaluation.joint_scores import score_joint
from promu.extraction.evaluate_model import predict_pipeline
from promu.extraction.extractor import Extractor
from promu.extraction.result import Extraction
from promu.modeling.inventory import inventory_of
from promu.schema import Entity, Post, Relation, quintuples
from promu.tasks.model_folder import open_predictor
from promu.tasks.post_images import ImageFolder

POSTS = [
    Post(str(number), tuple(" ".join(words).split()), None if number % 3 == 2 else f"{number}.png")
    for number, words in enumerate([TEXTS[:1], TEXTS[1:2], TEXTS[2:], TEXTS[:2]])
]


@pytest.fixture(scope="module")
def extractor(tiny_joint: Path) -> Extractor:
    return Extractor.from_pretrained(tiny_joint, device="cpu")


@pytest.fixture(scope="module")
def found(extractor: Extractor, images: Path) -> list[Extraction]:
    return list(extractor.pipe(POSTS, images=images))


def told(extractions: Sequence[Extraction | Post]) -> list[Any]:
    posts = [one.post if isinstance(one, Extraction) else one for one in extractions]
    return [
        (
            [(entity.start, entity.end, entity.type) for entity in post.entities],
            [(relation.head, relation.tail, relation.type) for relation in post.relations],
        )
        for post in posts
    ]


def scores_of(one: Extraction | Post) -> list[float]:
    entities, relations = [item.score or 0.0 for item in one.entities], [item.score or 0.0 for item in one.relations]
    return entities + relations


def test_one_pass_finds_what_the_task_predicts(tiny_joint: Path, found: list[Extraction], images: Path) -> None:
    predictor = open_predictor("joint", tiny_joint / "joint", "cpu")
    folder = ImageFolder(images, 32, "raise")
    predicted = predictor.answers(predictor.predict(POSTS, folder.batch, 3))
    for one, post in zip(found, predicted, strict=True):
        assert told([one]) == told([post])
        assert scores_of(one) == pytest.approx(scores_of(post), abs=1e-4)
    assert sum(len(one.relations) for one in found) >= 3, "nothing was tested"
    assert [one.image_reason for one in found] == [None, None, "no image", None]


def test_answers_obey_the_rules(tiny_joint: Path, found: list[Extraction]) -> None:
    names = json.loads((tiny_joint / "joint" / "config.json").read_text())["id2label"].values()
    triples = set(inventory_of(names).triples)
    for one in found:
        ends = [(entity.start, entity.end) for entity in one.entities]
        assert ends == sorted(ends) and all(first[1] <= second[0] for first, second in pairwise(ends))
        assert {(r.head.type, r.type, r.tail.type) for r in one.relations} <= triples
        assert len({frozenset((r.head, r.tail)) for r in one.relations}) == len(one.relations)
        assert all(0 < score <= 1 for score in scores_of(one))


def test_the_batch_changes_nothing_and_the_image_something(
    extractor: Extractor, found: list[Extraction], images: Path
) -> None:
    assert told(list(extractor.pipe(POSTS, batch_size=1, images=images))) == told(found)
    blind = list(extractor.pipe([Post(post.id, post.tokens) for post in POSTS]))
    assert told([blind[2]]) == told([found[2]]) and told(blind) != told(found)


def test_an_image_is_encoded_once(tiny_joint: Path, images: Path) -> None:
    predictor: Any = open_predictor("joint", tiny_joint / "joint", "cpu")
    rows = []

    def hook(module: object, args: object, given: dict[str, Any]) -> None:
        rows.append(len(given["pixel_values"]))

    predictor.model.promu.vision_encoder.register_forward_pre_hook(hook, with_kwargs=True)
    list(Extractor(predictor).pipe(POSTS, images=images))
    assert rows == [1, 1, 1]  # each alone on a CPU, so that company changes no digit


def test_relations_go_with_entities_that_are_not_sure_enough(
    extractor: Extractor, found: list[Extraction], images: Path
) -> None:
    sure = sorted(entity.score or 0.0 for one in found for entity in one.entities)
    threshold = sure[len(sure) // 2]
    fewer = list(extractor.pipe(POSTS, images=images, entity_threshold=threshold))
    assert 0 < sum(len(one.entities) for one in fewer) < len(sure)
    for one, before in zip(fewer, found, strict=True):
        kept = {(e.start, e.end) for e in before.entities if (e.score or 0.0) >= threshold}
        left = [r for r in before.relations if all((end.start, end.end) in kept for end in (r.head, r.tail))]
        assert [(r.head, r.tail, r.type) for r in one.relations] == [(r.head, r.tail, r.type) for r in left]
    none = list(extractor.pipe(POSTS, images=images, relation_threshold=1.0))
    assert not any(one.relations for one in none) and told(none) != told(found)


def test_what_each_answer_attended_to(extractor: Extractor, images: Path) -> None:
    for one in extractor.pipe(POSTS, images=images, explain=True):
        assert one.explanation is not None
        assert len(one.explanation.entities) == len(one.entities)
        assert len(one.explanation.relations) == len(one.relations)
        for attention in (*one.explanation.entities, *one.explanation.relations):
            assert len(attention.words) == len(one.tokens) and 0 < sum(attention.words) <= 1.0001
            assert bool(attention.patches) == one.image_read


def test_which_folders_are_taken(tiny_joint: Path, tiny_models: Path, tmp_path: Path) -> None:
    assert Extractor.from_pretrained(tiny_joint / "joint", device="cpu")("Ann met Bob").entities
    for name, source in (("joint", tiny_joint), ("ner", tiny_models)):
        (tmp_path / name).symlink_to(source / name)
    with pytest.raises(InputError, match=r"holds joint/ beside the models of single tasks; name one of the folders"):
        Extractor.from_pretrained(tmp_path)
    homes = {"ner": tiny_models, "joint": tiny_joint}
    pair = [open_predictor(task, folder / task, "cpu") for task, folder in homes.items()]
    with pytest.raises(InputError, match="a joint model finds entities and relations alone"):
        Extractor(*pair)
    with pytest.raises(InputError, match="this model is for the task 'joint', not 'ner'"):
        open_predictor("ner", tiny_joint / "joint")


@pytest.mark.slow
def test_two_models_answer_as_a_joint_system(tiny_models: Path, images: Path) -> None:
    gold = [
        Post(p.id, p.tokens, p.image, (Entity(0, 1, "per"), Entity(2, 3, "misc")), (Relation(0, 1, "awarded"),))
        for p in POSTS
    ]
    extractor = Extractor.from_pretrained(tiny_models, device="cpu")
    answers, with_image = predict_pipeline(extractor, gold, images, batch_size=2)
    plain = list(extractor.pipe(POSTS, images=images))
    assert with_image == 3
    assert sum(len(quintuples(post)) for post in answers) == sum(len(one.relations) for one in plain) > 0
    for post, one in zip(answers, plain, strict=True):
        assert [entity.type for entity in post.entities] == [str(entity.type).lower() for entity in one.entities]
        assert [f"/{r.type}" for r in post.relations] == [r.type[r.type.rindex("/") :] for r in one.relations]
    blind, with_image = predict_pipeline(extractor, gold)
    assert with_image == 0 and blind != answers
    written = [replace(post, entities=(Entity(0, 1, "Human"), Entity(2, 3, "OTHER"))) for post in gold]
    types = {entity.type for post in predict_pipeline(extractor, written)[0] for entity in post.entities}
    assert "OTHER" in types and types <= {"OTHER", "PER", "LOC", "ORG"}


@pytest.fixture(scope="module")
def gold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JMERE file whose images are there."""
    path = tmp_path_factory.mktemp("gold") / "gold.json"
    ends = (Entity(0, 1, "per"), Entity(2, 3, "misc"))
    posts = [Post(str(n), POSTS[n].tokens, f"{n}.png", ends, (Relation(0, 1, "awarded"),)) for n in range(4)]
    write_jmere(path, posts)
    return path


@pytest.mark.parametrize("kind", ["joint", "pipeline"])
def test_evaluate_joint(
    kind: str, gold: Path, tiny_joint: Path, tiny_models: Path, images: Path, tmp_path: Path, capsys: Any
) -> None:
    model, out = tiny_joint if kind == "joint" else tiny_models, tmp_path / "found.json"
    words = ["evaluate", "joint", str(model), "--data", str(gold), "--predictions", str(out)]
    assert main([*words, "--images", str(images), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["read"] == {"with image": 4, "as text": 0} and printed["gold"] == 4
    assert {"entities", "relations", "macro_f1", "published_string_scorer"} <= printed.keys()
    again = score_joint(read_jmere(gold), read_jmere(out))
    assert again.micro.to_dict().items() <= printed.items() and again.micro.predicted > 0
    # the model's five relations count in its macro F1, whether or not one of them is found
    assert len(printed["per_relation"]) == 5 if kind == "joint" else "awarded" in printed["per_relation"]
    assert main(["score", "joint", "--gold", str(gold), "--predictions", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["f1"] == printed["f1"]
    assert main(words) == 0
    told = capsys.readouterr()
    assert "quintuples, 4 posts" in told.out and "read as text, without an image: 4 of 4 posts" in told.err


def test_evaluate_joint_refuses(gold: Path, tiny_models: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(["evaluate", "joint", str(tiny_models / "ner"), "--data", str(gold)]) == 2
    assert "this model is for the task 'ner', not 'joint'" in capsys.readouterr().err
    (tmp_path / "bad.json").write_text("[{]")
    assert main(["evaluate", "joint", str(tiny_models), "--data", str(tmp_path / "bad.json")]) == 2
    assert "bad.json" in capsys.readouterr().err
