"""What is exported gives the published scorers' figures: their counting written anew here, or their library."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Sequence
from logging import Logger
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score as seqeval_f1
from seqeval.metrics.sequence_labeling import get_entities
from sklearn.metrics import f1_score as sklearn_f1

from promu.cli import main
from promu.corpora.conll import write_conll
from promu.corpora.mnre import write_mnre
from promu.errors import InputError
from promu.evaluation.ner import score_entities
from promu.evaluation.relation import score_relations
from promu.evaluation.scoring import export_entities, export_relations
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


def test_what_the_published_readers_make_of_tags_is_in_the_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gold = ["B-OTHER", "I-OTHER", "O", "B-PER", "O", "B-LOC", "I-LOC"]
    found = ["B-OTHER", "I-OTHER", "O", "I-PER", "O", "B-LOC", "I-PER"]
    for name, tags in (("gold", gold), ("found", found)):
        lines = "".join(f"{word}\t{tag}\n" for word, tag in zip(WORDS, tags, strict=True))
        (tmp_path / name).write_text(f"IMGID:1\n{lines}\n", encoding="utf-8")
    files = ["--gold", str(tmp_path / "gold"), "--predictions", str(tmp_path / "found")]
    assert main(["score", "ner", *files, "--export", str(tmp_path / "out"), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    told = json.loads((tmp_path / "out" / "tags.json").read_text(encoding="utf-8"))
    raw = [tag.replace("OTHER", "MISC") for tag in found]
    assert chunks(told["predicted"][0]) == chunks(raw), "a stray I- begins an entity, as it does to UMT's chunker"
    assert get_entities(told["predicted"][0]) == get_entities(raw), "and to seqeval's default mode"
    assert chunks(told["true"][0]) == {("MISC", 0, 2), ("PER", 3, 4), ("LOC", 5, 7)}
    figure = 100 * seqeval_f1(told["true"], told["predicted"])
    assert figure == pytest.approx(figures["default"]["f1"]) and figure != pytest.approx(figures["f1"])


def umts_evaluate(
    predicted: Sequence[Sequence[int]],
    true: Sequence[Sequence[int]],
    words: Sequence[Sequence[str]],
    tags: dict[str, int],
) -> tuple[float, float, float, float]:
    """Accuracy of tags, then F1, precision and recall of entities, over tags given by number."""
    names = {number: name for name, number in tags.items()}
    ours, right = (
        {(place, *chunk) for place, post in enumerate(side) for chunk in chunks([names[number] for number in post])}
        for side in (predicted, true)
    )
    assert [len(post) for post in words] == [len(post) for post in true]
    same = [a == b for post in zip(predicted, true, strict=True) for a, b in zip(*post, strict=True)]
    precision, recall = len(ours & right) / len(ours), len(ours & right) / len(right)
    return sum(same) / len(same), 2 * precision * recall / (precision + recall), precision, recall


def opennre_figures(true: Sequence[object], predicted: Sequence[object], none: object) -> dict[str, float]:
    """OpenNRE's counting, which HVPNeT and MEGA share: micro F1 over what is not `None`, and accuracy over all."""
    right = sum(a == b for a, b in zip(true, predicted, strict=True))
    hits = sum(a == b != none for a, b in zip(true, predicted, strict=True))
    said, there = (sum(one != none for one in side) for side in (predicted, true))
    return {"acc": right / len(true), "micro_f1": 2 * hits / (said + there)}


def hvpnets_eval_result(true: list[int], predicted: list[int], rel2id: dict[str, int], _: Logger) -> dict[str, float]:
    return opennre_figures(true, predicted, rel2id["None"])


class MegasDataset:
    """The gold file, read anew, and numbers of its own."""

    rel2id: ClassVar = {"None": 0, "/per/per/peer": 5, "/per/per/alumi": 7, "/per/per/couple": 3}

    def __init__(self, path: str) -> None:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        self.names = [ast.literal_eval(line)["relation"] for line in lines]

    def eval(self, predicted: list[Any], use_name: bool = False) -> dict[str, float]:
        if use_name:
            return opennre_figures(self.names, predicted, "None")
        return opennre_figures([self.rel2id[name] for name in self.names], predicted, self.rel2id["None"])


def test_the_documented_lines_give_promus_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [*FOUND[:2], post(2)]
    pairs = [pair(n, name) for n, name in enumerate(["/per/per/peer", "None", "/per/per/couple", "/per/per/alumi"])]
    found_pairs = [
        pair(n, name) for n, name in enumerate(["/per/per/peer", "/per/per/peer", "None", "/per/per/couple"])
    ]
    monkeypatch.chdir(tmp_path)
    write_conll("gold.ner", GOLD)
    write_conll("found.ner", found)
    write_mnre("gold.re", pairs)
    write_mnre("found.re", found_pairs)
    for task in ("ner", "re"):
        files = ["--gold", f"gold.{task}", "--predictions", f"found.{task}"]
        assert main(["score", task, *files, "--export", "runs/exported"]) == 0
    modules: dict[str, dict[str, Any]] = {
        "ner_evaluate": {"evaluate": umts_evaluate},
        "modules": {},
        "modules.metrics": {"eval_result": hvpnets_eval_result},
    }
    for name, functions in modules.items():
        stand_in = ModuleType(name)
        vars(stand_in).update(functions)
        monkeypatch.setitem(sys.modules, name, stand_in)
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    (lines,) = (
        block for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL) if "runs/exported" in block
    )
    loader = SimpleNamespace(dataset=MegasDataset("gold.re"))
    space: dict[str, Any] = {"framework": SimpleNamespace(test_loader=loader)}
    exec(compile(lines, "evaluation.md", "exec"), space)

    entities, relations = score_entities(GOLD, found).micro, score_relations(pairs, found_pairs)
    assert entities.precision != entities.recall
    assert [100 * one for one in space["umt"][1:]] == pytest.approx([entities.f1, entities.precision, entities.recall])
    micro = re.search(r"micro avg +(\S+) +(\S+) +(\S+)", space["hvpnet"])
    assert micro is not None
    figures = (entities.precision, entities.recall, entities.f1)
    assert micro.groups() == tuple(f"{figure / 100:.4f}" for figure in figures)
    for result in (space["hvpnet_relations"], space["mega"]):
        assert [100 * result["micro_f1"], 100 * result["acc"]] == pytest.approx(
            [relations.micro.f1, relations.accuracy]
        )
