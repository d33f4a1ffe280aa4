"""What of gold a model can give: by its labels, by its length, and whether it can be learned from and chosen by."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from promu.cli import main
from promu.errors import InputError
from promu.modeling.chain import bio_labels
from promu.modeling.inputs import WordEncoder, add_entity_markers
from promu.schema import Entity, Post, Quintuple, Relation, with_quintuples
from promu.tasks.reachable_gold import check_gold, check_lengths, reach
from promu.tasks.task import TASKS
from promu.training.tokenizers import train_wordpiece

TEXT = "Ann met Bob in Rome"
TOKENIZER = train_wordpiece([TEXT] * 3, 300, min_frequency=1)
add_entity_markers(TOKENIZER)
TOKENIZER.add_tokens(TEXT.split())
NER, RE, JOINT = TASKS["ner"], TASKS["re"], TASKS["joint"]
PER = bio_labels(["PER"])


def encoder(max_length: int = 80) -> WordEncoder:
    """Each of the words is one token."""
    return WordEncoder(TOKENIZER, max_length)


def names(text: str, *entities: tuple[int, int, str]) -> Post:
    return Post("p", tuple(text.split()), entities=tuple(Entity(start, end, kind) for start, end, kind in entities))


def pair(text: str, head: tuple[int, int], tail: tuple[int, int], relation: str) -> Post:
    return Post("p", tuple(text.split()), None, (Entity(*head, None), Entity(*tail, None)), (Relation(0, 1, relation),))


SHORT = names(TEXT, (0, 1, "PER"), (2, 3, "PER"))
LONG = names(f"{TEXT} {TEXT}", (0, 1, "PER"), (5, 6, "PER"), (6, 8, "PER"), (9, 10, "LOC"))


def test_entities_past_the_last_word_that_is_read() -> None:
    """Nine tokens are seven words with start and end: of four entities one ends before, one is cut, one after."""
    found = reach(NER, [SHORT, LONG], encoder(9), bio_labels(["LOC", "PER"]))
    long = found.long
    assert (long.posts, long.of_posts, long.longest, long.max_length) == (1, 2, 12, 9)
    assert (long.lost, long.of_answers, long.answers) == (2, 6, "entities")
    assert found.beyond == {"past the last word that is read": 2} and found.unknown == {}
    assert [len(post.entities) for post in found.readable] == [2, 2]
    assert long.sentence() == (
        "longer than the 9 tokens that are read: 1 of 2 posts (the longest has 12); entities past them: 2 of 6"
    )
    assert (
        reach(NER, [SHORT, LONG], encoder(12)).long.sentence() == "no post is longer than the 12 tokens that are read"
    )


def test_posts_with_relations_are_gold_of_entities_too() -> None:
    """An entity that is lost takes no relation of the post with it: a model of entities looks at none."""
    post = names(TEXT, (0, 1, "PER"), (2, 3, "PER"), (2, 4, "PER"))
    post = replace(post, relations=(Relation(0, 1, "met"), Relation(0, 2, "met")))
    assert reach(NER, [post], encoder(4)).readable[0].entities == post.entities[:1]
    labels = {label: row for row, label in enumerate(PER)}
    assert NER.batch(encoder(), [post], labels)["labels"].shape == (1, 5)


def test_the_score_with_and_without_what_is_lost() -> None:
    """Of six entities three are found and one is wrong: P 3/4, R 3/6, F1 60; without the two that are lost R 3/4."""
    found = reach(NER, [SHORT, LONG], encoder(9))
    predicted = [SHORT, names(f"{TEXT} {TEXT}", (0, 1, "PER"), (4, 5, "PER"))]
    f1 = float(NER.score([SHORT, LONG], predicted).to_dict()["f1"])
    scored = found.score(NER, predicted, f1)
    assert scored.f1 == pytest.approx(60) and scored.f1_without == pytest.approx(75)
    assert scored.sentence().endswith("entities past them: 2 of 6: F1 60.00, 75.00 without them")
    alone = reach(NER, [names(f"{TEXT} {TEXT}", (9, 10, "LOC"))], encoder(9))
    nothing = alone.score(NER, [names(f"{TEXT} {TEXT}")], 0.0)
    assert nothing.f1_without is None and nothing.sentence().endswith("F1 0.00, nothing is left without them")
    whole = reach(NER, [SHORT], encoder(9)).score(NER, [SHORT], 100.0)
    assert (whole.f1, whole.f1_without, whole.lost) == (100.0, 100.0, 0)


def test_a_pair_is_lost_where_its_own_words_are_cut() -> None:
    """Nine tokens leave three words beside four markers; what is nearest to a marker stays."""
    near = pair(f"{TEXT} {TEXT}", (0, 1), (2, 3), "r")
    wide = pair(f"{TEXT} {TEXT}", (0, 7), (8, 9), "r")
    short = pair(TEXT, (0, 1), (2, 3), "None")
    found = reach(RE, [near, wide, short], encoder(9), ["None", "r"])
    assert (found.long.posts, found.long.longest, found.long.lost, found.long.of_answers) == (3, 16, 1, 3)
    assert found.long.answers == "pairs" and found.beyond == {}
    scored = found.score(RE, [near, pair(f"{TEXT} {TEXT}", (0, 7), (8, 9), "None"), short], 66.67)
    assert scored.f1_without == pytest.approx(100)
    assert reach(RE, [short], encoder(11)).long.posts == 0, "five words, four markers, start and end are eleven"


def test_quintuples_past_the_last_word_that_is_read() -> None:
    ann, bob, rome = ((0, 1), "per"), ((2, 3), "per"), ((9, 10), "loc")
    post = with_quintuples(
        Post("p", tuple(f"{TEXT} {TEXT}".split())), [Quintuple(*ann, *bob, "peer"), Quintuple(*ann, *rome, "home")]
    )
    labels = ["/per/loc/home", "/per/per/peer"]
    found = reach(JOINT, [post], encoder(9), labels)
    assert (found.long.lost, found.long.of_answers, found.long.answers) == (1, 2, "quintuples")
    assert found.beyond == {"past the last word that is read": 1}
    assert found.score(JOINT, [found.readable[0]], 66.67).f1_without == pytest.approx(100)
    assert reach(JOINT, [post], encoder(), labels[:1]).unknown == {"/per/per/peer": 1}


def test_what_no_answer_can_hold_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """Two quintuples of one pair: the first counts."""
    ann, bob = ((0, 1), "per"), ((2, 3), "per")
    twice = [Quintuple(*ann, *bob, "peer"), Quintuple(*bob, *ann, "peer")]
    post = with_quintuples(Post("p", tuple(TEXT.split())), twice)
    checked("joint", ["/per/per/peer"], train=[post], dev=[post])
    said = "no answer can hold some of 2 quintuples: 1 of a pair that has another relation"
    assert caplog.messages == [f"train.txt: {said}", f"dev.txt: {said}"]


def test_labels_that_training_lacks_are_counted() -> None:
    gold = [names(TEXT, (0, 1, "PER"), (2, 3, "SHIP"), (4, 5, "SHIP"))]
    found = reach(NER, gold, encoder(), PER)
    assert found.unknown == {"SHIP": 2} and found.beyond == {"of a label that training lacks": 2}
    pairs = [pair(TEXT, (0, 1), (2, 3), relation) for relation in ("r", "s", "None")]
    assert reach(RE, pairs, encoder(), ["None", "r"]).unknown == {"s": 1}


def checked(task: str, labels: Sequence[str], **splits: list[Post]) -> None:
    reached = {split: reach(TASKS[task], posts, encoder(9), labels) for split, posts in splits.items()}
    check_gold(TASKS[task], splits, {split: Path(f"{split}.txt") for split in splits}, reached)


NOBODY = names(TEXT)


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        (
            {"train": [NOBODY], "dev": [SHORT]},
            r"train\.txt: no post here has an entity, so that there is nothing to lea",
        ),
        (
            {"train": [SHORT], "dev": [NOBODY]},
            r"dev\.txt: no post here has an entity: F1 would be 0 .* name a file that",
        ),
    ],
)
def test_nothing_to_learn_from_or_to_choose_by(splits: dict[str, list[Post]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        checked("ner", PER, **splits)


@pytest.mark.parametrize(
    ("post", "reason"),
    [
        (names(TEXT, (4, 5, "LOC")), "1 of a label that training lacks"),
        (names(f"{TEXT} {TEXT}", (7, 8, "PER")), "1 past the last word that is read"),
    ],
)
def test_a_dev_set_out_of_reach_is_said(post: Post, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    """As a few-shot set may be."""
    checked("ner", PER, train=[SHORT], dev=[post])
    said = "so that F1 is 0 in every epoch and the first is kept; choose by another"
    assert f"dev.txt: the model can give none of the 1 entities here ({reason}), {said}" in caplog.messages


def test_pairs_that_are_all_none() -> None:
    none, some = pair(TEXT, (0, 1), (2, 3), "None"), pair(TEXT, (0, 1), (2, 3), "r")
    with pytest.raises(InputError, match=r"train\.txt: no post here has a relation other than None"):
        checked("re", ["None"], train=[none], dev=[none, some])
    with pytest.raises(InputError, match=r"dev\.txt: no post here has a relation other than None: F1 would be 0"):
        checked("re", ["None", "r"], train=[none, some], dev=[none])


def test_what_is_odd_is_said_and_not_refused(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "promu")
    both = names(TEXT, (0, 1, "PER"), (4, 5, "LOC"))
    checked("ner", bio_labels(["LOC", "PER"]), train=[both], dev=[both], test=[both])
    assert caplog.text == ""
    third = names(TEXT, (0, 1, "PER"), (4, 5, "SHIP"))
    checked("ner", bio_labels(["LOC", "PER"]), train=[both], dev=[SHORT], test=[third])
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "dev.txt: all is of the one label PER, of 2 in training; it alone chooses the epoch",
        "test.txt: training has no SHIP (1); the model misses them all, and they are scored",
    ]
    caplog.clear()
    checked("ner", PER, train=[SHORT], dev=[SHORT], test=[NOBODY])
    assert caplog.messages == ["test.txt: no post has an entity, so that its F1 is 0 and says nothing"]


@pytest.mark.parametrize(
    ("relations", "said"),
    [
        (["r", "r"], "train.txt: every pair is r, and a model of it can learn to say nothing else"),
        (["r", "s"], "train.txt: no pair is None, and a model of it cannot learn that two entities are not related"),
        (["r", "None"], None),
    ],
)
def test_training_pairs_of_one_kind(relations: list[str], said: str | None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "promu")
    pairs = [pair(TEXT, (0, 1), (2, 3), relation) for relation in relations]
    checked("re", ["None", "r", "s"], train=pairs, dev=pairs)
    assert caplog.messages == ([] if said is None else [said])


def test_check_counts_what_a_model_would_lose(
    tiny_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "train.txt"
    file.write_text(
        "IMGID:1\n" + "".join(f"{word}\tO\n" for word in ["Ann"] * 100) + "Bob\tB-PER\n\nIMGID:2\nAnn\tB-PER\n\n"
    )
    long = check_lengths(file, "conll", tiny_models / "ner")[str(file)]
    assert (long.posts, long.lost, long.of_answers, long.max_length) == (1, 1, 2, 96)
    words = ["check", str(file), "--format", "conll"]
    assert main([*words, "--model", str(tiny_models / "ner")]) == 0
    assert f"{file}: longer than the 96 tokens that are read: 1 of 2 posts" in capsys.readouterr().out
    assert main([*words, "--tokenizer", str(tiny_models / "ner"), "--max-length", "900", "--json"]) == 0
    counted = json.loads(capsys.readouterr().out)["long_posts"][str(file)]
    assert counted["lost"] == 0 and counted["max_length"] == 900
    assert check_lengths(file, "conll", tiny_models) == {str(file): long}, "of ner/ in it"
    for more, sentence in (
        ([], "name either a model or a tokenizer"),
        (["--model", str(tiny_models / "ner")], "max_length goes with a tokenizer; a model has its own"),
    ):
        assert main([*words, *more, "--max-length", "900"]) == 2
        assert sentence in capsys.readouterr().err
    with pytest.raises(InputError, match="max_length is 0; at least 8 is needed"):
        check_lengths(file, "conll", tokenizer=str(tiny_models / "ner"), max_length=0)
    with pytest.raises(InputError, match="name either a model or a tokenizer"):
        check_lengths(file, "conll")
    with pytest.raises(InputError, match="lengths are counted of posts, and captions holds none"):
        check_lengths(file, "captions", tokenizer=str(tiny_models / "ner"))
