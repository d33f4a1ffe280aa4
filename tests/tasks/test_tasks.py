"""Posts to batches and answers back to posts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig

from promu import progress
from promu.corpora.tag_schemes import bio_tags
from promu.modeling.chain import bio_labels
from promu.modeling.classification import PromuForTokenClassification
from promu.modeling.configuration import PromuConfig
from promu.modeling.crf import LinearChainCrf
from promu.modeling.inputs import Batch, WordEncoder
from promu.schema import NO_RELATION, Entity, Post, Relation
from promu.tasks.predictor import Predictions, Predictor, Task
from promu.tasks.task import TASKS, pair_posts
from promu.tasks.torch_predictor import TorchPredictor
from promu.training.tokenizers import train_wordpiece

TOKENIZER = train_wordpiece(["the dog runs over a wide field in the city"] * 2, 300)
NER, RE = TASKS["ner"], TASKS["re"]
POST = Post(
    id="1",
    tokens=("Zorvak", "runs", "over", "Old", "Town", "Hall"),
    entities=(Entity(0, 1, "PER"), Entity(3, 5, "LOC"), Entity(5, 6, "ORG")),
)
PAIR = replace(POST, relations=(Relation(2, 0, "/org/per/member"),))


def encoder(max_length: int = 80) -> WordEncoder:
    return WordEncoder(TOKENIZER, max_length)


def crf_of(names: list[str]) -> Any:
    """What a tagger answers by, beside emissions."""
    return SimpleNamespace(
        crf=LinearChainCrf(names).weights(), labels=names, config=SimpleNamespace(score_temperature=1.0)
    )


def answered(task: Task, predictor: Any, outputs: np.ndarray, batch: Batch, posts: list[Post]) -> list[Post]:
    predictions = Predictions(list(range(len(posts))), posts, batch, outputs)
    return task.add_scores(predictor, predictions, task.decode(predictor, predictions))


def predicted(predictor: Predictor, posts: list[Post], batch_size: int = 64) -> list[Post]:
    """The answers to posts without images."""
    return predictor.answers(predictor.predict(posts, lambda names: {}, batch_size))


def test_bio_tags() -> None:
    assert bio_tags(POST) == ["B-PER", "O", "O", "B-LOC", "I-LOC", "B-ORG"]
    assert bio_tags(Post("2", ())) == []


def test_labels_are_in_a_fixed_order() -> None:
    assert NER.labels([POST]) == ["O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER"]
    assert NER.labels([Post("2", ("a",))]) == ["O"]
    assert RE.labels([PAIR, replace(POST, relations=(Relation(0, 1, NO_RELATION),))]) == ["None", "/org/per/member"]


def test_a_batch_for_entities() -> None:
    names = NER.labels([POST])
    short = Post("2", ("the", "dog"))
    batch = NER.batch(encoder(), [POST, short], {name: index for index, name in enumerate(names)})
    assert [names[label] for label in batch["labels"][0]] == bio_tags(POST)
    assert batch["word_mask"].tolist() == [[1] * 6, [1, 1, 0, 0, 0, 0]]
    for row, post in enumerate((POST, short)):
        for word, place in zip(post.tokens, batch["word_index"][row], strict=False):
            piece = TOKENIZER.convert_ids_to_tokens(int(batch["input_ids"][row, place]))
            assert isinstance(piece, str) and word.startswith(piece)
    assert "labels" not in NER.batch(encoder(), [POST], None)


def test_labels_stop_where_the_text_was_cut() -> None:
    names = NER.labels([POST])
    batch = NER.batch(encoder(10), [POST], {name: index for index, name in enumerate(names)})
    words = int(batch["word_mask"].sum())
    assert 1 <= words < 6 and batch["labels"].shape == batch["word_mask"].shape == (1, words)
    assert [names[label] for label in batch["labels"][0]] == bio_tags(POST)[:words]


def test_a_batch_for_relations() -> None:
    other = replace(PAIR, id="2", relations=(Relation(0, 1, NO_RELATION),))
    batch = RE.batch(encoder(), [PAIR, other], {"None": 0, "/org/per/member": 1})
    assert batch["labels"].tolist() == [1, 0]
    for row, (head, tail) in enumerate([("H", "Z"), ("Z", "O")]):
        for column, (marker, letter) in enumerate([("[E1]", head), ("[E2]", tail)]):
            place = int(batch["marker_index"][row, column])
            ids = batch["input_ids"][row].tolist()
            assert TOKENIZER.convert_ids_to_tokens(ids[place]) == marker
            assert str(TOKENIZER.convert_ids_to_tokens(ids[place + 1])).startswith(letter)


def spans(words: int) -> st.SearchStrategy[tuple[Entity, ...]]:
    """Any entities that do not overlap, neighbours of one type included."""

    def build(draws: list[int]) -> tuple[Entity, ...]:
        entities, start = [], 0
        for index, (gap, length, kind) in enumerate(zip(draws[::3], draws[1::3], draws[2::3], strict=False)):
            del index
            start += gap
            if start + length + 1 > words:
                break
            entities.append(Entity(start, start + length + 1, ["LOC", "PER"][kind % 2]))
            start += length + 1
        return tuple(entities)

    return st.lists(st.integers(0, 2), max_size=18).map(build)


@settings(max_examples=60)
@given(data=st.data(), lengths=st.lists(st.integers(0, 9), min_size=1, max_size=4))
def test_tags_decode_to_the_very_spans_that_made_them(data: st.DataObject, lengths: list[int]) -> None:
    names = bio_labels(["LOC", "PER"])
    posts = [Post(str(row), ("dog",) * length, entities=data.draw(spans(length))) for row, length in enumerate(lengths)]
    batch = NER.batch(encoder(), posts, {name: index for index, name in enumerate(names)})
    emissions = np.eye(len(names))[batch["labels"]] * 20
    answers = answered(NER, crf_of(names), emissions, batch, posts)
    for post, answer in zip(posts, answers, strict=True):
        assert [(e.start, e.end, e.type) for e in answer.entities] == [(e.start, e.end, e.type) for e in post.entities]
        assert all(0.99 < (entity.score or 0) <= 1.0001 for entity in answer.entities)


def test_a_spans_score_is_its_least_certain_word() -> None:
    names = bio_labels(["PER"])
    # B-PER sure, I-PER against O: score of I is log 3 above O, so 3/4 after a sure B
    emissions = np.array([[[0.0, 30.0, 0.0], [0.0, -30.0, 1.0986], [30.0, 0.0, 0.0]]])
    post = Post("1", ("Zorvak", "Quell", "runs"))
    answer = answered(NER, crf_of(names), emissions, NER.batch(encoder(), [post], None), [post])[0]
    assert [(e.start, e.end, e.type) for e in answer.entities] == [(0, 2, "PER")]
    assert answer.entities[0].score == pytest.approx(0.75, abs=1e-3)


def test_answers_replace_gold() -> None:
    names = bio_labels(["PER"])
    emissions = np.zeros((1, 6, 3))
    emissions[..., 0] = 9
    answer = answered(NER, crf_of(names), emissions, NER.batch(encoder(), [PAIR], None), [PAIR])[0]
    assert answer == replace(PAIR, entities=(), relations=())


def test_the_most_probable_relation_with_its_probability() -> None:
    predictor = SimpleNamespace(labels=["None", "/org/per/member"], config=SimpleNamespace(score_temperature=1.0))
    logits = np.array([[0.0, 1.0986], [2.0, 0.0]])
    first, second = answered(RE, predictor, logits, {}, [PAIR, PAIR])
    assert first.relations[0].type == "/org/per/member"
    assert first.relations[0].score == pytest.approx(0.75, abs=1e-3)
    assert second.relations[0].type == "None" and (second.relations[0].head, second.relations[0].tail) == (2, 0)
    assert first.entities == PAIR.entities


def tagger() -> PromuForTokenClassification:
    torch.manual_seed(0)
    text = BertConfig(
        vocab_size=len(TOKENIZER),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        initializer_range=0.5,
    )
    return PromuForTokenClassification(PromuConfig(text_config=text, id2label=dict(enumerate(bio_labels(["A", "B"])))))


def test_posts_come_back_in_their_order_whatever_the_batches() -> None:
    posts = [Post(str(length), ("dog", "runs", "city", "Zorvak")[: length % 5]) for length in (3, 1, 9, 0, 4, 2, 8)]
    model = tagger().train()
    steps: list[tuple[str, int, int]] = []
    predictor = TorchPredictor(NER, model, encoder())
    one = predicted(predictor, posts, 1)
    with progress.shown(lambda *step: steps.append(step)):
        many = predicted(predictor, posts, 3)
    assert [post.id for post in one] == [post.id for post in posts]
    assert [(e.start, e.end, e.type) for p in one for e in p.entities] == [
        (e.start, e.end, e.type) for p in many for e in p.entities
    ]
    assert any(post.entities for post in one), "no span at all: nothing was tested"
    assert steps == [("reading", done, 7) for done in (3, 6, 7)]
    assert not model.training
    assert predicted(predictor, []) == []


def test_a_post_longer_than_the_model_reads_is_answered_in_full_length() -> None:
    post = Post("1", ("dog",) * 200)
    answer = predicted(TorchPredictor(NER, tagger(), encoder(20)), [post])[0]
    assert answer.tokens == post.tokens and all(entity.end <= 18 for entity in answer.entities)


@pytest.mark.parametrize(("task", "post"), [("ner", POST), ("re", PAIR)])
def test_answers_can_be_written_and_read_in_the_format_of_the_gold(tmp_path: Path, task: str, post: Post) -> None:
    post = replace(post, image="1.jpg")
    if task == "re":  # MNRE marks the pair alone
        post = replace(
            post, entities=(post.entities[2], post.entities[0]), relations=(Relation(0, 1, "/org/per/member"),)
        )
    answer = replace(post, entities=tuple(replace(entity, score=0.5) for entity in post.entities))
    TASKS[task].write(tmp_path / "predictions.txt", [answer])
    back = TASKS[task].read(tmp_path / "predictions.txt")
    assert float(TASKS[task].score([post], back, None).to_dict()["f1"]) == 100


def test_of_entities_that_overlap_the_first_is_learned() -> None:
    nested = replace(POST, entities=(*POST.entities[:2], Entity(4, 5, "PER")))
    labels = NER.labels([nested])
    text = NER.encode(encoder(), nested)
    assert NER.beyond(nested, text, bio_labels(["LOC", "ORG", "PER"])) == {"that overlap another": 1}
    tags = NER.batch(encoder(), [nested], {name: number for number, name in enumerate(labels)})["labels"]
    assert [labels[tag] for tag in tags[0].tolist()] == ["B-PER", "O", "O", "B-LOC", "I-LOC", "O"]
    said = NER.unusable([POST, replace(POST, entities=(Entity(0, 1, None),))])
    assert (
        said == "post '1' has an entity without a type; give it one, or leave it out" and NER.unusable([POST]) is None
    )


def test_one_post_a_pair() -> None:
    posts = pair_posts(POST, [(0, 1), (2, 0)])
    assert [(post.relations[0].head, post.relations[0].tail) for post in posts] == [(0, 1), (2, 0)]
    assert all(post.tokens == POST.tokens and post.entities == POST.entities for post in posts)
