"""Texts that are longer than a model takes: nothing is lost, nothing is invented, nothing depends on company."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.extraction.test_pairs_in_one_pass import ALL, HEADS, counted, save_multi_task
from tests.factories import TEXTS

import promu
from promu import Extractor
from promu.extraction.type_rules import TypeRules
from promu.modeling.chain import bio_labels
from promu.modeling.configuration import PromuConfig
from promu.modeling.crf import LinearChainCrf
from promu.modeling.inputs import Batch, WordEncoder, add_entity_markers
from promu.progress import shown
from promu.schema import Entity, Post
from promu.tasks.model_folder import open_predictor
from promu.tasks.predictor import Predictor
from promu.tasks.task import TASKS
from promu.tasks.windows import Home, windows_of, windows_over
from promu.training.tokenizers import train_wordpiece

LONG = " ".join(TEXTS * 4)


class Knowing(Predictor):
    """A model that knows one name, "Ann Lee" in whole or in part, and that any two are peers. It reads 32 pieces."""

    vision_checksum = None

    def __init__(self, task: str, head: str = "markers") -> None:
        labels = bio_labels(["PER"]) if task == "ner" else ["None", "/per/per/peer"]
        tokenizer = train_wordpiece(["Ann Lee met the the ."] * 9, 300, min_frequency=1)
        add_entity_markers(tokenizer)
        config = PromuConfig(max_length=32, id2label=dict(enumerate(labels)), relation_head=head)
        super().__init__(TASKS[task], config, WordEncoder(tokenizer, 32, relation_head=head))
        self.first, self.second = (self.encoder.pieces(word)[0] for word in ("Ann", "Lee"))
        if task == "ner":
            self.crf = LinearChainCrf(self.labels).weights()
        self.rows: list[int] = []

    def _encode_images(self, pixels: Any) -> Any:
        raise AssertionError

    def __call__(self, batch: Batch, output_attentions: bool = False) -> Any:
        ids = batch["input_ids"]
        self.rows.append(len(ids))
        if self.crf is None:
            pairs = batch.get("pairs")
            return SimpleNamespace(logits=np.tile([[0.0, 4.0]], (len(ids if pairs is None else pairs), 1)))
        words = np.take_along_axis(ids, batch["word_index"], 1)
        after = np.concatenate([np.zeros_like(words[:, :1]), words[:, :-1]], 1) == self.first
        emissions = np.zeros((*words.shape, 3))
        emissions[..., 0] = 5.0
        emissions[..., 1] += 10.0 * (words == self.first) + 8.0 * ((words == self.second) & ~after)
        emissions[..., 2] += 10.0 * ((words == self.second) & after)
        return SimpleNamespace(emissions=emissions)


def text_with(places: Sequence[int], count: int) -> tuple[str, ...]:
    words = ["the"] * count
    for place in places:
        words[place : place + 2] = ["Ann", "Lee"]
    return tuple(words)


@settings(max_examples=30)
@given(
    count=st.integers(2, 400),
    gaps=st.lists(st.integers(2, 60), max_size=12),
    stride=st.floats(0.1, 0.9),
    batch_size=st.integers(1, 9),
)
def test_every_name_is_found_once_and_whole_wherever_it_stands(
    count: int, gaps: list[int], stride: float, batch_size: int, knowing: Extractor
) -> None:
    places = [sum(gaps[: number + 1]) - 2 for number in range(len(gaps)) if sum(gaps[: number + 1]) <= count]
    found = knowing(tokens=text_with(places, count), stride=stride, batch_size=batch_size)
    assert [(one.start, one.end) for one in found.entities] == [(place, place + 2) for place in places]
    assert not found.warnings and found.far_pairs == 0, "nothing is asked of a model for entities alone"


@pytest.fixture(scope="module")
def knowing() -> Extractor:
    return Extractor(Knowing("ner"))


def test_what_pairs_share_a_window_is_related_and_what_does_not_is_counted_and_named() -> None:
    places = [0, 10, 40, 97]
    extractor = Extractor(Knowing("ner"), Knowing("re"))
    found = extractor(tokens=text_with(places, 99))
    pairs = {tuple(sorted((one.head, one.tail))) for one in found.post.relations}
    windows = windows_of(extractor.encoder, found.tokens, 0.5)
    near = {
        (one, other)
        for one in range(4)
        for other in range(one)
        if any(window.holds(places[other], places[one] + 2) for window in windows)
    }
    assert pairs == {(other, one) for one, other in near} == {(0, 1)}
    assert found.far_pairs == 5
    assert found.warnings == (
        "5 pairs of entities are further apart than the 32 tokens that the model reads together, and no relation was "
        "sought between them (Ann Lee – Ann Lee; Ann Lee – Ann Lee; Ann Lee – Ann Lee; …).",
    )
    assert extractor(tokens=text_with([0, 20], 28)).far_pairs == 0
    # entities that a post brings, and windows of another model than finds them
    given_ones = Post("1", found.tokens, None, tuple(Entity(place, place + 2, "PER") for place in places))
    again = Extractor(Knowing("re", "spans"))(given_ones)
    assert [(one.head, one.tail) for one in again.post.relations] == [(0, 1)] and again.far_pairs == 5


def test_entities_that_overlap_or_are_longer_than_a_window() -> None:
    words = text_with([], 80)
    entities = (Entity(70, 72, "PER"), Entity(0, 60, "PER"), Entity(71, 73, "PER"), Entity(71, 73, "PER"))
    for head in HEADS:
        found = Extractor(Knowing("re", head))(Post("1", words, None, entities))
        assert {frozenset((one.head, one.tail)) for one in found.post.relations} == set(
            map(frozenset, [(0, 2), (0, 3), (2, 3)])
        )
        assert found.far_pairs == 3 and "the the the" in found.warnings[0]


KINDS = st.sampled_from(["PER", "ORG", "LOC", None])
RULES = TypeRules(["None", "/per/per/peer", "/per/org/member_of", "/org/loc/located_in"])


@given(
    spans=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 6), KINDS), max_size=14),
    room=st.integers(3, 70),
    stride=st.floats(0.1, 1.0),
)
def test_a_pair_is_asked_about_once_or_counted(spans: list[tuple[int, int, str]], room: int, stride: float) -> None:
    post = Post("1", ("a",) * 66, None, tuple(Entity(start, start + size, kind) for start, size, kind in spans))
    windows = windows_over([1] * 66, room, stride)
    asked = RULES.asked(post, windows)
    every = RULES.pairs(post.entities)
    pairs = [pair for _, of_window in asked.pairs for pair in of_window]
    assert len(pairs) == len(set(pairs)) == asked.total and set(pairs) <= set(every)
    for window, of_window in asked.pairs:
        assert all(window.holds(post.entities[end].start, post.entities[end].end) for pair in of_window for end in pair)
    left = {frozenset(pair) for pair in every} - {frozenset(pair) for pair in pairs}
    assert asked.far == len(left) and set(map(frozenset, asked.first)) <= left
    assert len(asked.first) == min(3, len(left))
    for one, other in left:
        ends = [post.entities[number] for number in (one, other)]
        assert not any(all(window.holds(end.start, end.end) for end in ends) for window in windows)


def test_a_word_that_no_window_holds_is_said_and_what_is_around_it_is_read(knowing: Extractor) -> None:
    found = knowing(tokens=["Ann", "Lee", "m" * 90, *text_with([60], 62)])
    assert [(one.start, one.end) for one in found.entities] == [(0, 2), (63, 65)]
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith("1 word is longer than the model takes, and read in part ('mmmm")
    assert len(found.warnings[0]) < 150
    assert knowing(tokens=["m" * 90]).warnings == found.warnings


def test_the_last_of_50_000_words_is_read_in_passes_of_bounded_size() -> None:
    finder, relater = Knowing("ner"), Knowing("re", "spans")
    places = range(0, 50_000, 20)
    steps: list[tuple[str, int, int]] = []
    began = time.monotonic()
    with shown(lambda stage, done, total: steps.append((stage, done, total))):
        found = Extractor(finder, relater)(tokens=text_with(places, 50_000), batch_size=16)
    assert [one.start for one in found.entities] == list(places) and found.entities[-1].start == 49_980
    assert max(finder.rows) == max(relater.rows) == 16 and sum(finder.rows) > 64
    home = Home(windows_of(finder.encoder, found.tokens, 0.5), 50_000)
    near = sum(home.of(place, place + 22) is not None for place in places)
    assert len(found.relations) == near > 100, "some with the next one; those after that are too far apart"
    assert found.far_pairs == 2500 * 2499 // 2 - near
    assert steps[-1] == ("reading windows", sum(finder.rows), sum(finder.rows))
    assert time.monotonic() - began < 30, "a second or two on a free machine"


@pytest.mark.slow
def test_400_entities_in_one_post() -> None:
    relater = Knowing("re", "spans")
    words = ("the",) * 28
    entities = tuple(Entity(place % 28, place % 28 + 1, "PER") for place in range(400))
    found = Extractor(relater)(Post("1", words, None, entities), relation_threshold=0.0)
    assert len(found.relations) == 400 * 399 // 2 and found.far_pairs == 0
    with pytest.raises(promu.InputError, match=r"the text has 159,600 pairs of entities .* at most 500"):
        Extractor(relater)(Post("1", words, None, entities), max_pairs=500)


# with encoders that see the whole window and the image


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("long")
    return {head: save_multi_task(folder / head, head) for head in HEADS}


def told(found: Any) -> list[Any]:
    entities = [(one.start, one.end, one.type) for one in found.entities]
    return [entities, [(one.head, one.tail, one.type) for one in found.post.relations], found.far_pairs]


def last_related(found: Any) -> int:
    """The end of the last entity that is in a relation."""
    return max(end.end for one in found.relations for end in (one.head, one.tail))


def scores(found: Any) -> list[float]:
    return [float(one.score) for one in (*found.post.entities, *found.post.relations)]


@pytest.mark.parametrize("head", HEADS)
def test_company_batch_and_order_change_no_score_of_a_long_post(
    head: str, models: dict[str, Path], images: Path
) -> None:
    extractor = Extractor.from_pretrained(models[head], "cpu")
    posts: list[dict[str, Any]] = [{"id": str(n), "text": text, "image": f"{n}.png"} for n, text in enumerate(TEXTS)]
    posts += [{"id": "long", "text": LONG, "image": "3.png"}, {"id": "blind", "text": LONG[:240]}]
    with counted(extractor) as found:
        alone = {one.id: one for post in posts for one in extractor.pipe([post], images=images, **ALL)}
    assert found["vision"] == 4, "an image is encoded once for all windows of its post"
    if head == "spans":  # the pairs are read off what was read
        assert found["text"] == len(posts)
    long = alone["long"]
    assert long.entities[-1].end > len(long.tokens) - 12 and last_related(long) > len(long.tokens) - 30
    assert long.far_pairs > 10
    for batch_size in (1, 3, 64):
        for order in (posts, posts[::-1]):
            for one in extractor.pipe(order, images=images, batch_size=batch_size, **ALL):
                assert told(one) == told(alone[one.id])
                assert scores(one) == pytest.approx(scores(alone[one.id]), abs=1e-5)
    # read once more, since so many windows are not kept
    many = extractor({"text": " ".join([LONG] * 7)}, **ALL)
    assert len(windows_of(extractor.encoder, many.tokens, 0.5)) > 64 and last_related(many) > 1_000


@pytest.mark.slow
def test_windows_of_a_joint_model_are_one_answer(tiny_joint: Path, images: Path) -> None:
    extractor = Extractor.from_pretrained(tiny_joint, "cpu")
    found = extractor(LONG, image=images / "0.png")
    assert found.relations and last_related(found) > len(found.tokens) // 2
    for one in found.relations:
        assert max(one.head.end, one.tail.end) - min(one.head.start, one.tail.start) <= 94
    ends = [frozenset((one.head, one.tail)) for one in found.post.relations]
    assert len(ends) == len(set(ends)) and found.far_pairs > 0
    posts = [{"id": "1", "text": TEXTS[0]}, {"id": "2", "text": LONG}]
    company = list(extractor.pipe(posts, batch_size=3))[1]
    alone = extractor(posts[1]["text"])
    assert told(company) == told(alone) and scores(company) == pytest.approx(scores(alone), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["ner", "joint"])
def test_evaluation_reads_long_posts_as_extraction_does(
    task: str, tiny_models: Path, tiny_joint: Path, images: Path
) -> None:
    folder = tiny_models / "ner" if task == "ner" else tiny_joint / "joint"
    predictor = open_predictor(task, folder, "cpu")
    entities = (Entity(150, 151, "PER"), Entity(152, 153, "LOC"))
    words = tuple(LONG.split())
    gold = Post("1", words, "0.png", entities, (promu.Relation(0, 1, "/per/loc/place_of_residence"),))
    scored = promu.evaluate(predictor, [gold], images=images)
    (answer,) = Extractor(predictor).pipe([Post("1", words, "0.png")], images=images, **ALL)
    assert told(
        SimpleNamespace(
            **{"entities": scored.predictions[0].entities, "post": scored.predictions[0]}, far_pairs=answer.far_pairs
        )
    ) == told(answer)
    assert answer.entities[-1].end > 140
    long = scored.long_posts
    assert (long.posts, long.lost, long.in_windows) == (1, 0, True)
    assert "longer than the 96 tokens that are read together: 1 of 1 post" in long.sentence()


def test_contexts_are_packed_for_each_window(tmp_path: Path) -> None:
    folder = save_multi_task(tmp_path / "model", "spans", contexts=["caption"], context_budget=8)
    extractor = Extractor.from_pretrained(folder, "cpu")
    caption = "Ann Lee met Bob. the crew of Zorva won."
    post = {"text": "Ann Lee met Bob " + "today " * 40 + "the crew of Zorva won", "contexts": {"caption": caption}}
    found, bare = (extractor({**post, "contexts": {"caption": text}}, **ALL) for text in (caption, ""))
    assert found.entities[-1].end > 45 and scores(found) != scores(bare)
    predictor = open_predictor("ner", folder, "cpu")
    words = extractor.prepare(post).post.tokens
    read = [
        predictor.task.encode(predictor.encoder, Post("1", words[start:end], contexts={"caption": caption}))
        for start, end in windows_of(predictor.encoder, words, 0.5)
    ]
    passages = {tuple(one.input_ids[-one.context :]) for one in read}
    assert len(read) > 2 and len(passages) == 2, "what is relevant to the beginning is not what is to the end"


@pytest.mark.parametrize("head", ["spans", "markers"])
def test_an_explanation_is_of_the_window_that_was_read(head: str, models: dict[str, Path], images: Path) -> None:
    extractor = Extractor.from_pretrained(models[head], "cpu")
    found = extractor(LONG, image=images / "0.png", explain=True, **ALL)
    assert found.explanation is not None
    assert len(found.explanation.entities) == len(found.entities)
    assert len(found.explanation.relations) == len(found.relations) > 5
    ends = [(one.start, one.end) for one in found.entities]
    ends += [(min(one.head.start, one.tail.start), max(one.head.end, one.tail.end)) for one in found.relations]
    attended = (*found.explanation.entities, *found.explanation.relations)
    for (start, end), attention in zip(ends, attended, strict=True):
        assert attention.start <= start and end <= attention.start + len(attention.words)
        assert len(attention.words) <= 30 and sum(attention.words) > 0 and len(attention.patches) == 4
    assert max(attention.start for attention in attended) > 100
    plain = extractor(LONG, image=images / "0.png", **ALL)
    assert told(plain) == told(found) and scores(plain) == pytest.approx(scores(found), abs=1e-5)


@settings(max_examples=10)
@given(stride=st.floats(0.1, 1.0))
def test_a_text_that_fits_is_read_as_it_is_whatever_the_stride(stride: float, knowing: Extractor) -> None:
    found = knowing(tokens=text_with([3, 28], 30), stride=stride)
    assert found == knowing(tokens=text_with([3, 28], 30))


def test_every_pair_of_a_text_that_fits_is_asked_about() -> None:
    post = Post("1", ("a",) * 5, None, tuple(Entity(place, place + 1, "PER") for place in range(5)))
    asked = RULES.asked(post, windows_over([1] * 5, 9, 0.5))
    assert asked.pairs == [((0, 5), list(permutations(range(5), 2)))] and (asked.far, asked.first) == (0, ())
