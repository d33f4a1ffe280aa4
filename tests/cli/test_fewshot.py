"""`promu fewshot sample` and `promu score joint` as they are typed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from promu.cli import main
from promu.corpora.jmere import read_jmere


def jmere(path: Path, count: int = 40, wrong: int = 0) -> str:
    """A set of posts, two relations in turn; the first `wrong` have another relation than usual."""
    records = []
    for number in range(count):
        ends = [
            {"name": word, "pos": [place, place + 1], "tags": "per"}
            for word, place in (("Ann", 0), (f"Bob{number}", 2))
        ]
        relation = "couple" if number < wrong else ("peer", "parent")[number % 2]
        label = [{"beg_ent": ends[0], "sec_ent": ends[1], "relation": relation}]
        records.append({"token": ["Ann", "met", f"Bob{number}"], "img_id": f"{number}.jpg", "label_list": [label]})
    path.write_text(json.dumps(records))
    return str(path)


def test_sample_tells_the_fit(tmp_path: Path, capsys: Any) -> None:
    data, out = jmere(tmp_path / "all.json"), tmp_path / "sets"
    assert main(["fewshot", "sample", data, str(out), "--train", "10", "--dev", "6", "--seed", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["sets"]["train"]["relations"] == {"parent": 5, "peer": 5}
    assert told["sets"]["val"]["posts"] == 6 and told["sets"]["val"]["divergence"] == 0
    assert sorted(file.name for file in out.iterdir()) == ["train.json", "val.json"]
    assert main(["check", str(out), "--format", "jmere"]) == 0
    assert main(["fewshot", "sample", data, str(tmp_path / "more"), "--train", "10", "--dev", "6"]) == 0
    assert "Jensen-Shannon divergence 0.0000 bits" in capsys.readouterr().out
    assert main(["fewshot", "sample", data, str(tmp_path / "most"), "--train", "1", "--dev", "6"]) == 2
    assert "cannot hold each of 2 relations" in capsys.readouterr().err


def test_score_joint(tmp_path: Path, capsys: Any) -> None:
    gold, half = jmere(tmp_path / "gold.json"), jmere(tmp_path / "half.json", wrong=20)
    assert main(["score", "joint", "--gold", gold, "--predictions", half, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["f1"] == 50.0 and told["entities"]["f1"] == 100.0 and told["published_string_scorer"]["f1"] == 50.0
    assert told["macro_f1"]["all"] == pytest.approx(2 * (2 * 10 / 30) / 3 * 100)
    assert main(["score", "joint", "--gold", gold, "--predictions", gold, half, "--against", half]) == 0
    said = capsys.readouterr().out
    assert "75.00 ± 35.36" in said and "t test over 2 and 1 runs and the posts" in said
    groups = tmp_path / "groups.json"
    groups.write_text(json.dumps({post.id: "all of them" for post in read_jmere(gold)}))
    words = ["score", "joint", "--gold", gold, "--groups", str(groups), "--predictions", half]
    assert main(words) == 0
    assert re.search(r"all of them +50\.00 +50\.00 +50\.00 +20 +40 +40", capsys.readouterr().out)
    assert main([*words, gold, "--json", "--against", half]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["mean_per_group"]["all of them"]["f1"]["mean"] == told["mean"]["all"]["f1"]["mean"] == 75.0
    assert told["mean"]["macro_f1"].keys() == {"all", "present", "strings", "merged"}
    assert told["against"]["files"] == [half]
    assert main(["score", "joint", "--gold", gold, "--predictions", jmere(tmp_path / "few.json", 3)]) == 2
    assert "the predictions hold 3 posts and the gold holds 40" in capsys.readouterr().err
