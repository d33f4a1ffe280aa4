"""Nouns of captions by a spaCy pipeline that the user names (METHOD: the candidates of L_COE)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path
from typing import Any

from promu.alignment.candidates import merge_plurals, read_candidates
from promu.errors import InputError

BATCH = 256
"""Captions that the pipeline reads at once."""

# What needs time and tells nothing about nouns.
_UNNEEDED = (
    "parser",
    "senter",
    "ner",
    "entity_ruler",
    "entity_linker",
    "span_ruler",
    "spancat",
    "textcat",
    "textcat_multilabel",
)
_REMEDY = "download one with a tagger (python -m spacy download en_core_web_sm), or name the folder of one"


def count_nouns(
    captions: Iterable[str], pipeline: str, progress: Callable[[int], None] | None = None, processes: int = 1
) -> Counter[str]:
    """How often each noun lemma occurs in the captions.

    A noun is a word of two letters or more, nothing but letters, that the pipeline tags NOUN (names, PROPN, are none).
    It counts under its lemma; where the pipeline gives none, under the lower-cased word, plurals with their singular.

    Args:
        captions: The corpus's captions.
        pipeline: A spaCy pipeline: its folder, or the name of an installed one.
        progress: Called with the number of captions read.
        processes: How many processes share the work.

    Raises:
        InputError: spaCy is not installed, there is no such pipeline, or it tags no parts of speech.
    """
    nlp = load_pipeline(pipeline)
    lemmas: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for done, document in enumerate(nlp.pipe(captions, batch_size=BATCH, n_process=processes), start=1):
        for token in document:
            if token.pos_ != "NOUN":
                continue
            noun = (token.lemma_ or token.text).lower()
            if noun.isalpha() and len(noun) >= 2:
                (lemmas if token.lemma_ else words)[noun] += 1
        if progress is not None and done % BATCH == 0:
            progress(done)
    return lemmas + merge_plurals(words)


def load_pipeline(name: str) -> Any:
    """The spaCy pipeline called `name` with what finds nouns, and no more.

    Raises:
        InputError: As `count_nouns`.
    """
    try:
        import spacy
    except ImportError:
        raise InputError("nouns are found by spaCy, which is not installed; pip install 'promu[spacy]'") from None
    try:
        nlp = spacy.load(name, exclude=_UNNEEDED)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"spaCy pipeline {name!r} cannot be loaded ({reason}); {_REMEDY}") from error
    if not nlp("a dog").has_annotation("POS"):
        raise InputError(f"spaCy pipeline {name!r} tags no parts of speech (a blank one?); {_REMEDY}")
    return nlp


def read_stop_list(path: Path | None = None) -> list[str]:
    """The nouns that are never candidates, from a file as `read_candidates` reads; None is promu's own list.

    Raises:
        InputError: As `read_candidates`.
    """
    if path is not None:
        return read_candidates(path)
    with resources.as_file(resources.files("promu.alignment") / "data" / "noun_stop_list.txt") as own:
        return read_candidates(own)
