"""`promu candidates`: files that the label store reads, and what was left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from promu.alignment.candidates import read_candidates
from promu.cli import main
from promu.corpora.shards import CaptionedImage, ShardWriter
from promu.files import write_json

CAPTIONS = [("two dogs", True), ("a dog on the side", True), ("a cat", True), ("a boat", False)]


@pytest.fixture
def pipeline(tmp_path: Path) -> str:
    spacy = pytest.importorskip("spacy", reason="spaCy is not installed: pip install -e '.[spacy]'")
    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("attribute_ruler")
    ruler.add([[{"LENGTH": {">": 2}}]], {"POS": "NOUN"})
    ruler.add([[{"LOWER": {"IN": ["two", "the", "a", "on"]}}]], {"POS": "DET"})
    nlp.to_disk(tmp_path / "pipeline")
    return str(tmp_path / "pipeline")


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    path = tmp_path / "captions.csv"
    rows = "".join(f"{number}.jpg,{text},{int(matched)}\n" for number, (text, matched) in enumerate(CAPTIONS))
    path.write_text("image,caption,matched\n" + rows)
    return path


def test_nouns_of_a_file_and_of_a_corpus(
    tmp_path: Path, pipeline: str, captions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ShardWriter(tmp_path, 0) as writer:
        writer.add(CaptionedImage("a.jpg", b"x", 4, 4, tuple(CAPTIONS)))
    write_json(tmp_path / "corpus.json", {})
    out = tmp_path / "nouns.txt"
    for source in (captions, tmp_path):
        assert main(["candidates", "nouns", str(source), "--pipeline", pipeline, "--top", "5", "--out", str(out)]) == 0
        printed = capsys.readouterr().out
        assert "dog" in printed and "1 of the others stand on the stop list, 0 are rarer" in printed
        assert out.read_text().splitlines()[-2:] == ["dog\t2", "cat\t1"]  # the falsified boat is counted elsewhere
        assert read_candidates(out) == ["dog", "cat"]


def test_nouns_as_json_with_a_stop_list_of_ones_own(
    tmp_path: Path, pipeline: str, captions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stop.txt").write_text("dog\n")
    words = ["candidates", "nouns", str(captions), "--pipeline", pipeline, "--top", "1", "--json"]
    words += ["--out", str(tmp_path / "nouns.txt"), "--stop", str(tmp_path / "stop.txt")]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == {
        "captions": 3,
        "nouns_found": 3,
        "occurrences": 4,
        "stopped": {"dog": 2},
        "kept": {"cat": 1},
        "out": str(tmp_path / "nouns.txt"),
    }


def test_relations_of_the_real_table(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "relations.txt"
    table = str(shared / "data/wikidata/properties.csv")
    assert main(["candidates", "relations", table, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "100 of 10,366 properties of properties.csv" in printed
    assert "8799 of the others take no item as value" in printed
    relations = read_candidates(out)
    assert len(relations) == 100 and "located in the administrative territorial entity" in relations


def test_relations_with_rules_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.csv").write_text(
        "ID,label,description,Data type,Count\nP1,a b,,WikibaseItem,5\nP2,c,,WikibaseItem,9\nP3,d,,String,99\n"
    )
    (tmp_path / "meta.txt").write_text("P2  # because\n")
    words = ["candidates", "relations", str(tmp_path / "p.csv"), "--meta", str(tmp_path / "meta.txt"), "--json"]
    assert main([*words, "--out", str(tmp_path / "relations.txt")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["properties"], found["item_valued"], found["meta"]) == (3, 2, 1)
    assert found["kept"] == {"P1": {"label": "a b", "uses": 5}}
    assert (tmp_path / "relations.txt").read_text().splitlines()[-1] == "a b\t5\tP1"


def test_what_cannot_be_done_is_said(
    tmp_path: Path, pipeline: str, captions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "nouns.txt"
    words = ["candidates", "nouns", str(captions), "--pipeline", pipeline, "--out", str(out)]
    assert main([*words, "--top", "0"]) == 2
    assert "--top must be 1 or more, found 0" in capsys.readouterr().err
    captions.write_text("image,caption,matched\n0.jpg,a boat,0\n")
    assert main(words) == 2
    assert "no caption here belongs to its image" in capsys.readouterr().err
    captions.write_text("image,caption\n0.jpg,a the on\n")
    assert main(words) == 2
    assert "no candidate was found, so nothing is written" in capsys.readouterr().err
    assert not out.exists()
