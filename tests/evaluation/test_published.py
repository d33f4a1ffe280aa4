"""What is exported gives the published scorers' figures: their counting written anew here, or their library."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score as seqeval_f1
from sklearn.metrics import f1_score as sklearn_f1

from promu.cli import main
from promu.errors import InputError
from promu.evaluation.ner import score_entities
from promu.evaluation.published import export_entities, export_relations
from promu.evaluation.relation import score_relations
from promu.schema import Entity, Post, Relation

WORDS = ("Ann", "Lee", "met", "Bob", "in", "New", "York")


def post(number: int, *entities: tuple[int, int, str]) -> Post:
    return Post(str(number), WORDS, f"{number}.jpg", tuple(Entity(*one) for one in entities))


def pair(number: int, relation: str) -> Post:
    ends = (Entity(0, 2, "per"), Entity(3, 4, "per"))
    return Post(str(number), WORDS, f"{number}.jpg", ends, (Relation(0, 1, relation),))


GOLD = [post(0, (0, 2, "PER"), (3, 4, "PER"), (5, 7, "LOC")), post(1, (0, 1, "PER"), (1, 2, "PER")), post(2)]
FOUND = [post(0, (0, 2, "PER"), (3, 4, "LOC"), (5, 7, "LOC")), post(1, (0, 2, "PER")), post(2, (5, 6, "ORG"))]


def chunks(tags: list[str]) -> set[tuple[str, int, int]]:
    """UMT's reading: B- begins, and so does an I- whose type is not that of what it follows."""
    begun = [
        place
        for place, tag in enumerate(tags)
        if tag != "O" and (tag[0] == "B" or place == 0 or tags[place - 1][2:] != tag[2:])
    ]
    ends = [next((e for e in range(b + 1, len(tags)) if e in begun or tags[e] == "O"), len(tags)) for b in begun]
    return {(tags[begin][2:], begin, end) for begin, end in zip(begun, ends, strict=True)}


def test_umts_file_gives_umts_figure(tmp_path: Path) -> None:
    written, _ = export_entities(tmp_path / "new", GOLD, FOUND)
    blocks = [block.split("\n") for block in written.read_text(encoding="utf-8").removesuffix("\n\n").split("\n\n")]
    assert [(name, words) for name, words, _, _ in blocks] == [(f"{n}.jpg", " ".join(WORDS)) for n in range(3)]
    true = {(n, *chunk) for n, block in enumerate(blocks) for chunk in chunks(block[3].split(" "))}
    found = {(n, *chunk) for n, block in enumerate(blocks) for chunk in chunks(block[2].split(" "))}
    figure = 200 * len(true & found) / (len(true) + len(found))
    assert figure == pytest.approx(score_entities(GOLD, FOUND).micro.f1) and 0 < figure < 100


def test_lists_of_tags_give_seqevals_figure_and_have_numbers(tmp_path: Path) -> None:
    _, written = export_entities(tmp_path, GOLD, FOUND)
    told = json.loads(written.read_text(encoding="utf-8"))
    assert 100 * seqeval_f1(told["true"], told["predicted"]) == pytest.approx(score_entities(GOLD, FOUND).micro.f1)
    assert told["words"] == [list(WORDS)] * 3
    assert sorted(told["tags"].values()) == list(range(1, len(told["tags"]) + 1))
    assert set(told["tags"]) == {tag for tags in (*told["true"], *told["predicted"]) for tag in tags}


@settings(max_examples=60)
@given(st.lists(st.tuples(*[st.sampled_from(["None", "peer", "member", "couple"])] * 2), min_size=1, max_size=20))
def test_numbers_of_relations_give_micro_f1_without_none(
    tmp_path_factory: pytest.TempPathFactory, names: list[tuple[str, str]]
) -> None:
    gold = [pair(number, name) for number, (name, _) in enumerate(names)]
    found = [pair(number, name) for number, (_, name) in enumerate(names)]
    (written,) = export_relations(tmp_path_factory.mktemp("relations"), gold, found)
    told = json.loads(written.read_text(encoding="utf-8"))
    assert told["rel2id"]["None"] == 0 and list(told["rel2id"].values()) == list(range(len(told["rel2id"])))
    labels = list(told["rel2id"].values())[1:]
    if not labels:
        return
    figure = sklearn_f1(told["true"], told["predicted"], labels=labels, average="micro", zero_division=0)
    assert 100 * figure == pytest.approx(score_relations(gold, found).micro.f1)


def test_what_cannot_be_shown_is_refused(tmp_path: Path) -> None:
    odd = [Post("7", ("a b",))]
    with pytest.raises(InputError, match="post '7': the word 'a b' holds a blank"):
        export_entities(tmp_path / "none", odd, odd)
    with pytest.raises(InputError, match="predictions hold 2 posts and the gold holds 3"):
        export_entities(tmp_path / "none", GOLD, FOUND[:2])
    assert not (tmp_path / "none").exists(), "nothing half-written"
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="the folder cannot be made"):
        export_relations(tmp_path / "file", [pair(0, "None")], [pair(0, "peer")])


def test_the_command_writes_it_beside_the_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, tag in (("gold", "B-PER"), ("found", "B-LOC")):
        (tmp_path / name).write_text(f"IMGID:1\nAnn\t{tag}\nmet\tO\n\n", encoding="utf-8")
    files = ["--gold", str(tmp_path / "gold"), "--predictions", str(tmp_path / "found")]
    assert main(["score", "ner", *files, "--export", str(tmp_path / "out")]) == 0
    assert re.search(r"written for other scorers: .*mtmner_pred\.txt, .*tags\.json", capsys.readouterr().err)
    assert (tmp_path / "out" / "mtmner_pred.txt").read_text(encoding="utf-8") == "1.jpg\nAnn met\nB-LOC O\nB-PER O\n\n"
