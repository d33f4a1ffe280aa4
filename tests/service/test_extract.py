"""What a caller of /extract and /extract/batch relies on."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.factories import TEXTS, save_tiny_model
from tests.service.conftest import Running, Start

from promu import Extractor
from promu.tasks.model_folder import open_predictor

TEXT = "Ann Lee met Bob’s dog \U0001f600 at the #bridge in Rome , so happy !"


def in_base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def plain(record: dict[str, Any]) -> dict[str, Any]:
    """Without scores, which depend on the batch in their last digits, and without what the service adds."""
    record = json.loads(json.dumps(record))
    for found in record["entities"] + record["relations"]:
        assert 0 < found.pop("score") <= 1
    return {key: record[key] for key in ("id", "tokens", "entities", "relations")}


def test_json_and_a_form_give_what_the_library_gives(service: Running, extractor: Extractor, images: Path) -> None:
    expected = extractor(TEXT, image=images / "0.png", id="seven")
    with service.client() as client:
        as_json = client.post(
            "/extract", json={"id": "seven", "text": TEXT, "image": in_base64(images / "0.png")}
        ).raise_for_status()
        as_form = client.post(
            "/extract", data={"id": "seven", "text": TEXT}, files={"image": (images / "0.png").read_bytes()}
        ).raise_for_status()
        without = client.post("/extract", json={"text": TEXT}).raise_for_status().json()
    for found in (as_json.json(), as_form.json()):
        assert plain(found) == plain(expected.to_dict())
        assert (
            found["image_read"] is True
            and found["text"] == TEXT
            and found["triples"] == [list(triple) for triple in expected.triples()]
        )
        assert found["entities"] and found["relations"], "nothing was compared"
        for entity in found["entities"]:
            assert TEXT[entity["char_start"] : entity["char_end"]] == entity["text"]
    assert (without["id"], without["image_read"], without["image_reason"]) == ("1", False, "no image")
    assert plain(without) == plain(extractor(TEXT).to_dict()) != plain(expected.to_dict())


def test_a_batch_answers_each_post_in_its_place(service: Running, extractor: Extractor, images: Path) -> None:
    posts = [
        {"id": "a", "text": TEXTS[0], "image": in_base64(images / "1.png")},
        {"id": "b", "text": "   "},
        {"text": TEXTS[1]},
        {"id": "d", "text": TEXTS[2], "image": base64.b64encode(b"no image").decode()},
        {"text": TEXTS[2], "image": "https://example.org/photo.png"},
    ]
    with service.client() as client:
        answer = client.post("/extract/batch", json={"posts": posts}).raise_for_status().json()
    assert answer["failed"] == 3
    first, blank, third, broken, address = answer["results"]
    assert plain(first) == plain(extractor(TEXTS[0], image=images / "1.png", id="a").to_dict())
    assert plain(third) == plain(extractor(TEXTS[1], id="3").to_dict())
    assert blank == {"id": "b", "error": "text is empty"}
    assert broken["id"] == "d" and broken["error"].startswith("not an image of a known format")
    assert address["id"] == "5" and "nothing is fetched" in address["error"]


@pytest.mark.parametrize(
    "text",
    [
        "\u0645\u0631\u062d\u0628\u0627 Ann Lee \u0628\u0627\u0644\u0639\u0627\u0644\u0645",  # right to left
        "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 Ann \U0001f1ee\U0001f1f9\U0001f44d\U0001f3fd Bob",
        "A\u200bn\u200dn \x01\x07 met\x1b B\u0301ob \ufeff",
        "\u202eAnn\u202c met Bob",
        "\u4e2d\u6587Ann\u4e2d\u6587",
        "a" * 20_000,
    ],
)
def test_offsets_point_at_the_right_characters(text: str, service: Running) -> None:
    with service.client() as client:
        found = client.post("/extract", json={"text": text}).raise_for_status().json()
        form = client.post("/extract", data={"text": text}, files={"image": b""}).raise_for_status().json()
    assert form["image_reason"] == "no image", "an empty file field is a form without an image"
    assert plain(form) == plain(found)
    assert found["tokens"]
    for entity in found["entities"]:
        assert text[entity["char_start"] : entity["char_end"]] == entity["text"]
        assert entity["text"].startswith(found["tokens"][entity["start"]])


@pytest.mark.slow
def test_a_long_post_is_read_to_its_end(start: Start, extractor: Extractor) -> None:
    text = "a" * 99 + " Ann met" * 125  # the model reads 94 pieces together
    with start(max_pairs=100_000) as service, service.client() as client:
        found = client.post("/extract", json={"text": text}).raise_for_status().json()
    assert len(found["tokens"]) == 251 and max(entity["end"] for entity in found["entities"]) > 245
    expected = extractor(text)
    assert found["warnings"] == list(expected.warnings) and found["far_pairs"] == expected.far_pairs > 0
    assert found["warnings"][0] == f"1 word is longer than the model takes, and read in part ({'a' * 60!r:.59}…)."


def test_an_explanation_comes_where_it_is_asked_for(service: Running, extractor: Extractor, images: Path) -> None:
    expected = extractor(TEXT, image=images / "0.png", explain=True).explanation
    post = {"text": TEXT, "image": in_base64(images / "0.png")}
    with service.client() as client:
        found = client.post("/extract", json={**post, "explain": True}).raise_for_status().json()
        form = (
            client.post(
                "/extract", data={"text": TEXT, "explain": "true"}, files={"image": (images / "0.png").read_bytes()}
            )
            .raise_for_status()
            .json()
        )
        assert "explanation" not in client.post("/extract", json=post).raise_for_status().json()
    assert expected is not None and len(found["explanation"]["entities"]) == len(found["entities"])
    patches = expected.entities[0].patches
    for answer in (found, form):
        for row, expected_row in zip(answer["explanation"]["entities"][0]["patches"], patches, strict=True):
            assert row == pytest.approx(expected_row, abs=1e-5)


def test_a_post_without_entities_is_an_answer_too(start: Start, tiny_models: Path) -> None:
    silent: Any = open_predictor("ner", tiny_models / "ner", "cpu")
    with torch.no_grad():
        silent.model.emitter.bias[0] = 1e4  # O
    with start(Extractor(silent)) as service, service.client() as client:
        found = client.post("/extract", json={"text": TEXT}).raise_for_status().json()
    assert found["entities"] == found["relations"] == found["triples"] == [] and found["tokens"]


def test_models_that_give_no_explanation_refuse_to_be_asked(start: Start, mute: Extractor) -> None:
    with start(mute) as service, service.client() as client:
        assert client.get("/ready").json()["explains"] is False
        post = {"text": TEXT}
        refused = client.post("/extract", json={**post, "explain": True})
        assert refused.status_code == 422 and "the models here give no explanation; leave it out" in refused.text
        both = client.post("/extract/batch", json={"posts": [{**post, "explain": True}, post]}).json()
        assert both["failed"] == 1 and "no explanation" in both["results"][0]["error"] and both["results"][1]["tokens"]


def test_thresholds_and_types_hold_for_every_request(start: Start, tiny_models: Path, extractor: Extractor) -> None:
    scores = sorted(entity.score or 0.0 for entity in extractor(TEXT).entities)
    middle = scores[len(scores) // 2]
    with start(entity_threshold=middle, relation_threshold=1.0) as service, service.client() as client:
        found = client.post("/extract", json={"text": TEXT}).raise_for_status().json()
        assert client.get("/health").json() == {"status": "ok", "model": tiny_models.name, "warnings": []}
    assert 0 < len(found["entities"]) < len(scores) and found["relations"] == []
    assert all(entity["score"] >= middle for entity in found["entities"])


def test_models_that_never_meet_say_so_in_health(start: Start, tiny_models: Path) -> None:
    predictors = [open_predictor(task, tiny_models / task, "cpu") for task in ("ner", "re")]
    names = {"PER": "PERSON", "ORG": "FIRM", "LOC": "GPE", "MISC": "WORK"}
    predictors[0].labels = tuple(one if one == "O" else one[:2] + names[one[2:]] for one in predictors[0].labels)
    with start(Extractor(*predictors)) as service, service.client() as client:
        (warning,) = client.get("/health").json()["warnings"]
    assert warning.startswith("no relation will be found: the entity model finds FIRM, GPE, PERSON and WORK")


def test_a_post_on_which_the_models_fail_leaves_those_of_others(start: Start, tiny_models: Path) -> None:
    predictors: list[Any] = [open_predictor(task, tiny_models / task, "cpu") for task in ("ner", "re")]
    real = predictors[0].predict_batch

    def fragile(posts: Any, *rest: Any, **more: Any) -> Any:
        if any("Zorva" in post.tokens for post in posts):
            raise IndexError("index out of range in self")
        return real(posts, *rest, **more)

    predictors[0].predict_batch = fragile
    with start(Extractor(*predictors), max_wait_ms=50) as service, service.client() as client:
        posts = [{"id": "a", "text": "Ann met Bob"}, {"id": "b", "text": "Zorva won"}, {"id": "c", "text": "Rome"}]
        answer = client.post("/extract/batch", json={"posts": posts}).raise_for_status().json()
        alone = client.post("/extract", json={"text": "Zorva won"})
    assert answer["failed"] == 1 and [result["id"] for result in answer["results"]] == ["a", "b", "c"]
    assert answer["results"][1]["error"].startswith("the models fail on this post (IndexError: index out of range")
    assert answer["results"][0]["tokens"] and answer["results"][2]["tokens"]
    assert alone.status_code == 422 and "the models fail on this post" in alone.json()["error"]


def test_contexts_come_by_name_and_are_read(start: Start, tmp_path: Path) -> None:
    save_tiny_model(tmp_path / "ner", "ner", max_length=64, contexts=["described"], context_budget=20)
    reads = Extractor.from_pretrained(tmp_path)
    said = {"described": "two people on a stage"}
    expected = reads({"text": TEXT, "contexts": said}, id="1")
    assert [one.score for one in expected.entities] != [one.score for one in reads(TEXT).entities]
    with start(reads, model=tmp_path, entity_threshold=0, max_characters=80) as service, service.client() as client:
        assert client.get("/model").json()["contexts"] == ["described"]
        found = client.post("/extract", json={"text": TEXT, "contexts": said}).raise_for_status().json()
        assert found["contexts"] == said and plain(found) == plain(expected.to_dict())
        assert [one["score"] for one in found["entities"]] == pytest.approx([one.score for one in expected.entities])
        posts = [{"text": TEXT, "contexts": said}, {"text": TEXT, "contexts": {"other": "x"}}, {"text": TEXT}]
        both = client.post("/extract/batch", json={"posts": posts}).raise_for_status().json()
        assert both["failed"] == 1 and both["results"][0]["entities"] and both["results"][2]["entities"]
        assert both["results"][1]["error"] == "the model reads no context 'other', it reads described; leave it out"
        long = client.post("/extract", json={"text": TEXT, "contexts": {"described": "x" * 81}})
        assert (long.status_code, long.json()["error"]) == (
            413,
            "the context 'described' has 81 characters, at most 80 are read; shorten it",
        )
        assert client.post("/extract", json={"text": TEXT, "contexts": {"described": 3}}).status_code == 422


def test_each_post_is_asked_for_the_types_that_it_brings(start: Start, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "ner", "ner", images=False, label_template="1")
    prompted = Extractor.from_pretrained(folder, device="cpu")
    posts: list[dict[str, Any]] = [
        {"text": TEXT, "types": ["ship", "person: somebody"]},
        {"text": TEXT},
        {"text": TEXT, "types": ["the"]},
        {"text": TEXT, "threshold": {"PER": 1, "LOC": 1, "ORG": 1, "MISC": 1}},
    ]
    with start(prompted, model=folder) as service, service.client() as client:
        asked, own, refused, none = (
            client.post("/extract/batch", json={"posts": posts}).raise_for_status().json()["results"]
        )
        alone = client.post("/extract", json=posts[0]).raise_for_status().json()
    expected = prompted(TEXT, types=posts[0]["types"])
    assert plain(asked)["entities"] == plain(expected.to_dict())["entities"] == plain(alone)["entities"]
    assert {one["type"] for one in asked["entities"]} <= {"ship", "person"}
    assert {one["type"] for one in own["entities"]} <= {"LOC", "MISC", "ORG", "PER"}
    assert "is a word that names no kind" in refused["error"]
    assert own["entities"] and not none["entities"] and none["below"]["entities"] == len(own["entities"])
