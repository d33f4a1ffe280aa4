"""`promu score`: modes, runs, tails, comparisons, and what is said of files that do not fit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from promu.cli import main

WORDS = ("Ann", "in", "Rome", "and", "Oslo")


def conll(path: Path, *posts: str) -> str:
    """A file of posts of the same words, each told by its tags."""
    blocks = (
        f"IMGID:{number}\n" + "".join(f"{word}\t{tag}\n" for word, tag in zip(WORDS, tags.split(), strict=True))
        for number, tags in enumerate(posts)
    )
    path.write_text("\n".join(blocks))
    return str(path)


def mnre(path: Path, *labels: str) -> str:
    record = {"token": ["Ann", "met", "Bob"], "h": {"name": "Ann", "pos": [0, 1]}, "t": {"name": "Bob", "pos": [2, 3]}}
    path.write_text(
        "".join(f"{ {**record, 'img_id': f'{i}.jpg', 'relation': name} }\n" for i, name in enumerate(labels))
    )
    return str(path)


GOLD = ("B-PER O B-LOC O B-LOC", "B-PER O B-LOC O B-OTHER")
RIGHT = GOLD
HALF = ("B-PER O B-LOC O O", "B-PER O B-PER O O")


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*words: str, status: int = 0) -> tuple[str, str]:
        assert main(["score", *words]) == status
        captured = capsys.readouterr()
        return captured.out, captured.err

    return run


def test_confusion_tail_and_foreign_labels(tmp_path: Path, said: Any) -> None:
    gold, found = conll(tmp_path / "gold", *GOLD), conll(tmp_path / "found", GOLD[0], "B-PER O B-DOG O B-PER")
    out, err = said("ner", "--gold", gold, "--predictions", found)
    assert "1 predicted label that the gold never has, counted as wrong: DOG (1)" in err
    assert re.search(r"LOC +1 +2 +0 *\n +OTHER +0 +0 +1", out), "a row a gold type: DOG, LOC, PER across"
    assert "tail: the 2 rarest in gold" in " ".join(out.split()) and re.search(r"OTHER +1 +1 +0\.00", out)
    train = conll(tmp_path / "train", "B-LOC O B-OTHER O B-OTHER", "B-LOC O B-PER O B-OTHER")
    out, _ = said("ner", "--gold", gold, "--predictions", found, "--train", train, "--json")
    tail = json.loads(out)["tail"]
    assert tail["counted_in"] == train and list(tail["labels"]) == ["PER", "LOC"]
    assert tail["labels"]["LOC"] == {
        "frequency": 2,
        "precision": 100.0,
        "recall": pytest.approx(200 / 3),
        "f1": 80.0,
        "correct": 2,
        "predicted": 2,
        "gold": 3,
    }


def test_runs_are_summed_up_and_compared(tmp_path: Path, said: Any) -> None:
    gold = conll(tmp_path / "gold", *GOLD)
    runs = [conll(tmp_path / "a", *RIGHT), conll(tmp_path / "b", *HALF)]
    words = ["ner", "--gold", gold, "--predictions", *runs, "--against", runs[1], "--samples", "200"]
    out, _ = said(*words)
    # HALF: 3 of 4 predicted and 6 gold: precision 75, recall 50, F1 60
    assert "mean ± standard deviation of 2 runs" in out
    assert re.search(r"all +87\.50 ± 17\.68 +75\.00 ± 35\.36 +80\.00 ± 28\.28", out)
    assert f"against {runs[1]}: +20.00 points of F1 (80.00 against 60.00), 95 % interval" in out
    assert "(t test over 2 and 1 runs and the posts: 2 posts, 1.0 degrees of freedom over seeds)" in out
    report = json.loads(said(*words, "--json")[0])
    assert [run["f1"] for run in report["runs"]] == [100.0, pytest.approx(60.0)]
    assert report["runs"][1]["predictions"] == runs[1]
    assert report["mean"]["all"]["f1"]["mean"] == pytest.approx(80.0)
    assert report["against"]["files"] == [runs[1]] and report["against"]["method"].startswith("t test")
    assert report["tail"]["mean"]["macro_f1"]["n"] == 2


def test_relations(tmp_path: Path, said: Any) -> None:
    labels = [f"/per/per/r{number}" for number in range(9)]
    gold, found = mnre(tmp_path / "gold", *labels, labels[0], "None"), mnre(tmp_path / "found", *labels, "None", "None")
    out, _ = said("re", "--gold", gold, "--predictions", found, "--against", gold)
    assert re.search(r"all +100\.00 +90\.00 +94\.74 +9 +9 +10", out)
    assert "the 1 most frequent of 1" in " ".join(out.split()) and re.search(r"/per/per/r0 +None +1", out)
    assert "tail: the 8 rarest in gold" in " ".join(out.split()) and "-5.26 points of F1" in out
    report = json.loads(said("re", "--gold", gold, "--predictions", found, found, "--json")[0])
    assert report["mean"]["all"]["f1"]["std"] == 0.0 and len(report["runs"]) == 2
    assert report["mean_accuracy"]["mean"] == pytest.approx(1000 / 11)
    groups = tmp_path / "groups.json"
    groups.write_text(json.dumps({str(number): "text" if number else "image" for number in range(11)}))
    out, _ = said("re", "--gold", gold, "--predictions", found, gold, "--groups", str(groups))
    assert "accuracy: 95.45 ± 6.43" in out and "macro F1: " in out
    assert re.search(r"image +100\.00 ± 0\.00 +100\.00 ± 0\.00 +100\.00 ± 0\.00", out)
    assert labels[0] not in report["tail"]["runs"][0]["labels"] and len(report["tail"]["runs"][0]["labels"]) == 8


def test_where_the_modes_differ_the_strict_one_counts(tmp_path: Path, said: Any) -> None:
    gold = conll(tmp_path / "gold", *GOLD)
    stray = conll(tmp_path / "stray", GOLD[0], GOLD[1].replace("B-OTHER", "I-OTHER"))
    report = json.loads(said("ner", "--gold", gold, "--predictions", stray, gold, "--json")[0])
    assert report["mode"] == "strict" and report["runs"][0]["recall"] == pytest.approx(500 / 6)
    assert report["default"]["mean"]["all"]["f1"]["mean"] == 100.0


IOB1 = "IMGID:1\nAnn\tI-PER\nLee\tI-PER\nBob\tB-PER\nin\tO\nRome\tI-LOC\n"
BIOES = "IMGID:1\nAnn\tB-PER\nLee\tE-PER\nBob\tS-PER\nin\tO\nRome\tS-LOC\n"
IOB2 = "IMGID:1\nAnn\tB-PER\nLee\tI-PER\nBob\tB-PER\nin\tO\nRome\tB-LOC\n"


@pytest.mark.parametrize(("gold", "scheme"), [(IOB1, "iob1"), (BIOES, "bioes"), (IOB2, "iob2")])
def test_any_scheme_is_scored_against_any(tmp_path: Path, said: Any, gold: str, scheme: str) -> None:
    """Gold in one scheme, predictions in the same or in IOB2, as promu writes them; named or found out."""
    (tmp_path / "gold.txt").write_text(gold)
    (tmp_path / "found.txt").write_text(IOB2)
    files = [str(tmp_path / "gold.txt"), str(tmp_path / "found.txt")]
    for options in ([], ["--scheme", scheme]):
        report = json.loads(said("ner", "--gold", files[0], "--predictions", *files, *options, "--json")[0])
        assert [run["f1"] for run in report["runs"]] == [100.0, 100.0] and "mode" not in report


@pytest.mark.slow
def test_published_twitter_2015_counts_as_the_field_does(shared: Path, said: Any) -> None:
    """The supports that UMT's scorer prints, and the numbers of entities that the papers give."""
    gold = str(shared / "data" / "twitter2015" / "test.txt")
    report = json.loads(said("ner", "--gold", gold, "--predictions", gold, "--json")[0])
    supports = {name: counts["gold"] for name, counts in report["per_type"].items()}
    assert (report["mode"], supports) == ("default", {"LOC": 1720, "ORG": 860, "OTHER": 754, "PER": 1873})
    strict = report["strict"]["per_type"]
    assert (strict["PER"]["gold"], strict["LOC"]["gold"], strict["ORG"]["gold"]) == (1816, 1697, 839)


@pytest.mark.parametrize(
    ("found", "options", "sentence"),
    [
        (("B-PER O B-LOC O B-LOC",), [], "found: the predictions hold 1 post and the gold holds 2"),
        (
            (GOLD[0], GOLD[1].replace("OTHER", "MISC")),
            [],
            "found: the predictions say MISC where the gold says OTHER; if they mean the same, give "
            "--rename MISC=OTHER",
        ),
        (GOLD, ["--rename", "MISC"], "--rename 'MISC' is not of the form OLD=NEW"),
        (GOLD, ["--against", "{}/absent"], "absent: no such file"),
        (GOLD, ["--against", "{}/gold", "--samples", "0"], "the number of bootstrap samples is 0"),
    ],
)
def test_files_that_do_not_fit(
    found: tuple[str, ...], options: list[str], sentence: str, tmp_path: Path, said: Any
) -> None:
    gold, predictions = conll(tmp_path / "gold", *GOLD), conll(tmp_path / "found", *found)
    options = [word.format(tmp_path) for word in options]
    out, err = said("ner", "--gold", gold, "--predictions", predictions, *options, status=2)
    assert out == "" and sentence in err and err.count("\n") == 1


def test_types_of_other_names_can_be_told(tmp_path: Path, said: Any) -> None:
    gold = conll(tmp_path / "gold", *GOLD)
    found = conll(tmp_path / "found", *(tags.replace("OTHER", "MISC") for tags in GOLD))
    words = ["ner", "--gold", gold, "--predictions", found, "--train", found, "--rename", "MISC=OTHER", "--json"]
    report = json.loads(said(*words)[0])
    assert report["f1"] == 100.0 and list(report["tail"]["labels"]) == ["OTHER", "PER"]
