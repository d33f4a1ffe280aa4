"""Contexts that give gold labels away, and those that only name a name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from promu import Entity, Post, Relation
from promu.cli import main
from promu.errors import InputError
from promu.evaluation.leaks import check_contexts, find_leaks, names_in_contexts, refuse_leaks

TOKENS = ("Kevin", "Durant", "joins", "Nets")


def post(said: str, kind: str = "PER") -> Post:
    entities = (Entity(0, 2, kind), Entity(3, 4, "ORG"))
    return Post("1", TOKENS, "1.jpg", entities, (Relation(0, 1, "/per/org/member_of"),), contexts={"x": said})


@pytest.mark.parametrize(
    "said",
    [
        "Kevin Durant is PER",
        "kevin durant (PER), Nets (ORG)",
        "Entities: PER: Kevin Durant",
        '{"Kevin Durant": "PER"}',
        "Kevin/B-PER Durant/I-PER joins Nets/B-ORG",
        "Kevin Durant is a person.",
        "The type of Kevin  Durant is of the category person.",
        "Kevin Durant [PER]",
        "PER Kevin Durant",
        "Person: Kevin Durant",
        "It rains.\nThe Nets are an organization.",
        "they are in the relation member_of",
        "relation /per/org/member_of",
    ],
)
def test_labels_are_found(said: str) -> None:
    (leak,) = find_leaks([post(said)])
    assert leak.context == "x" and leak.passage in said
    with pytest.raises(
        InputError, match=r"contexts of gold.txt say labels .* 1 in all, such as 'x' of post '1'.*\(please\)"
    ):
        refuse_leaks([post(said)], "gold.txt", "please")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Kevin Durant is a basketball player who plays for the Nets.", "PER"),
        ("a person in a shirt; Kevin Durant smiles", "PER"),
        ("Durant, a person of interest", "PER"),
        ("60 points per game by Kevin Durant", "per"),
        ("the other Nets fan sees Kevin Durant", "OTHER"),
        ("Kevin Durant and other players", "other"),
        ("the location of Kevin Durant is unknown", "LOC"),
        ("he is a member of the Nets", "PER"),
    ],
)
def test_plain_sentences_are_none(said: str, kind: str) -> None:
    assert not find_leaks([post(said, kind)])


def test_a_type_in_small_letters_is_found_where_something_says_is() -> None:
    assert find_leaks([post("Kevin Durant is per", "per")]) and find_leaks([post("Kevin Durant: loc", "loc")])


def test_names_are_counted_once_a_post() -> None:
    pairs = [post("kevin durant jumps"), post("kevin durant jumps")]
    share = names_in_contexts(pairs)
    assert (share.names, share.in_contexts, share.percent) == (2, 1, 50.0)
    assert names_in_contexts(pairs, "other").in_contexts == 0
    assert names_in_contexts([post("the Netsuke of Kevin")]).in_contexts == 0


def test_check_says_what_contexts_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gold = tmp_path / "gold.txt"
    gold.write_text("IMGID:7\nKevin\tB-PER\nDurant\tI-PER\njoins\tO\n\n")
    said = tmp_path / "x.jsonl"
    said.write_text('{"image": "7.jpg", "text": "Kevin Durant smiles"}\n')
    words = ["check", str(gold), "--format", "conll", "--context", f"x={said}"]
    assert main(words) == 0
    assert "context x: 1 of 1 names of the gold (100.0 %) stand in it" in capsys.readouterr().out
    said.write_text('{"image": "7.jpg", "text": "Kevin Durant is PER"}\n')
    assert main([*words, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["contexts"]["x"]["leaks"][0]["passage"] == "Kevin Durant is PER"
    assert main([*words[:-1], "x"]) == 2
    assert "--context 'x' is not of the form NAME=FILE" in capsys.readouterr().err


def test_published_descriptions_say_no_label(shared: Path) -> None:
    said = {"catr": shared / "data" / "descriptions" / "twitter" / "catr_2017.jsonl"}
    report = check_contexts(shared / "data" / "twitter2017" / "test.txt", "conll", said)["catr"]
    assert not report.leaks and report.names.percent < 1 and report.counts.with_text == 673
