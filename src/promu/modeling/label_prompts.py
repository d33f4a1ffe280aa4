"""Labels as words: types of entities and relations that a text encoder reads in a prompt, and how users write them.

A type is written `team` or `team: sports teams and clubs`. A relation may say which types its ends have:
`wears (person -> brand|product): has it on`. What stands behind the colon is read with the name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from promu.errors import InputError
from promu.files import shorten
from promu.schema import NO_RELATION

if TYPE_CHECKING:
    from promu.modeling.inputs import Batch, WordEncoder

ENTITY_TEMPLATES = {"1": "This is an image of {}.", "2": "An image of {} is shown here."}
RELATION_TEMPLATES = {
    "A": "This image shows the relation of {}.",
    "B": "The relation of {} is shown in this image.",
    "C": "The relation between the objects in the image is {}.",
}
TEMPLATES = ENTITY_TEMPLATES | RELATION_TEMPLATES

MOST_LABELS = 128
"""Types, or relations, of one call at most: the time of the CRF grows with the square of the types."""
LONGEST_NAME = 60
"""Characters of a name at most."""

_WORDS = {
    "per": "person", "loc": "location", "org": "organization", "gpe": "country or city", "misc": "miscellaneous",
    "other": "miscellaneous", "fac": "facility", "norp": "nationality or group",
}  # fmt: skip
"""What common short names of types stand for."""
_NO_KIND = frozenset(
    """
    a about all also an and any are as at be been but by can did do does each for from had has have he her him his how i
    if in into is it its just me more most my no nor not of off on only or other our out own she so some such than that
    the their them then there these they this those to too under up us very was we were what when where which who whom
    why will with you your
    """.split()  # noqa: SIM905
)
_RELATION = re.compile(
    r"(?P<name>[^:(]+?)\s*(?:\(\s*(?P<heads>[^()]*?)\s*->\s*(?P<tails>[^()]*?)\s*\)\s*)?(?::(?P<text>.*))?", re.DOTALL
)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|[\s_\-/]+")


def prompts(candidates: Sequence[str], template: str, templates: Mapping[str, str]) -> list[str]:
    """Each candidate in the template called `template`."""
    if template not in templates:
        raise InputError(f"prompt template {template!r} is unknown; use one of {', '.join(templates)}")
    return [templates[template].format(candidate) for candidate in candidates]


class LabelPrompt(NamedTuple):
    """A type or a relation that is asked for.

    Attributes:
        name: What answers call it.
        text: What describes it; empty where nothing does.
        heads, tails: Types of the ends of a relation, in lower case; empty where any will do.
    """

    name: str
    text: str = ""
    heads: tuple[str, ...] = ()
    tails: tuple[str, ...] = ()


def type_prompts(types: Sequence[str]) -> list[LabelPrompt]:
    """Types of entities as users write them.

    Raises:
        InputError: There is none, or too many; a name is empty, long, there twice, or a word that names no kind.

    >>> type_prompts(["person", "team: sports teams and clubs"])[1].text
    'sports teams and clubs'
    """
    found = []
    for written in _written(types, "types"):
        name, _, text = written.partition(":")
        found.append(LabelPrompt(name.strip(), text.strip()))
    return _checked(found, "type")


def relation_prompts(relations: Sequence[str], types: Iterable[str] | None = None) -> list[LabelPrompt]:
    """Relations as users write them.

    Args:
        relations: As above.
        types: Of the entities that are found; None where posts bring them.

    Raises:
        InputError: As `type_prompts`; or an end has a type that is not among `types`.

    >>> relation_prompts(["wears (person -> brand|shoe): has it on"])[0].tails
    ('brand', 'shoe')
    """
    known = None if types is None else list(types)
    found = []
    for written in _written(relations, "relations"):
        match = _RELATION.fullmatch(written.strip())
        if match is None:
            form = "NAME, NAME: DESCRIPTION or NAME (HEAD -> TAIL): DESCRIPTION, several types with | between"
            raise InputError(f"relation {shorten(written)} is not of the form {form}")
        heads, tails = (_ends(match[side], written, known) for side in ("heads", "tails"))
        found.append(LabelPrompt(match["name"].strip(), (match["text"] or "").strip(), heads, tails))
    if any(one.name == NO_RELATION for one in found):
        raise InputError(f"{NO_RELATION!r} is the name for no relation, which is always possible; leave it out")
    return _checked(found, "relation")


def _written(given: Sequence[str], what: str) -> list[str]:
    if isinstance(given, str) or not all(isinstance(one, str) for one in given):
        raise InputError(f"{what} is a list of words, and this is {shorten(given)}; write {what}=['person']")
    if not given:
        raise InputError(f"{what} is an empty list; name at least one, or leave {what} out")
    if len(given) > MOST_LABELS:
        raise InputError(
            f"{len(given)} {what} are asked for, and {MOST_LABELS} are taken at most; ask in several calls"
        )
    return list(given)


def _checked(found: list[LabelPrompt], what: str) -> list[LabelPrompt]:
    seen: dict[str, str] = {}
    for one in found:
        if not any(map(str.isalnum, one.name)):
            raise InputError(f"a {what} has no name ({shorten(one.name)}); write words, or leave it out")
        if len(one.name) > LONGEST_NAME:
            reason = f"the name of a {what} has {len(one.name)} characters ({shorten(one.name)})"
            raise InputError(f"{reason}, and {LONGEST_NAME} are taken at most; describe it behind a colon: NAME: TEXT")
        if not one.text and one.name.casefold() in _NO_KIND:
            example = f"{one.name}: what is meant by it"
            raise InputError(f"the {what} {one.name!r} is a word that names no kind; describe it, as in {example!r}")
        if other := seen.get(one.name.casefold()):
            raise InputError(f"the {what} {one.name!r} is there twice (as {other!r}); keep one of them")
        seen[one.name.casefold()] = one.name
    return found


def _ends(side: str | None, relation: str, known: Sequence[str] | None) -> tuple[str, ...]:
    ends = [end.strip() for end in (side or "").split("|") if end.strip() not in ("", "*")]
    lower = None if known is None else {kind.casefold() for kind in known}
    for end in ends:
        if lower is not None and end.casefold() not in lower:
            there = ", ".join(sorted(known or ())) or "none"
            raise InputError(f"relation {shorten(relation)} asks for the type {end!r}, and the types here are {there}")
    return tuple(end.casefold() for end in ends)


def label_words(label: str) -> str:
    """What the name of a label says in words.

    >>> label_words("PER"), label_words("TvShow"), label_words("/per/org/member_of")
    ('person', 'tv show', 'member of, from person to organization')
    """
    parts = label.split("/")
    words = " ".join(_CAMEL.split(parts[-1] or label)).strip().lower()
    if len(parts) == 4 and not parts[0]:
        return f"{words}, from {label_words(parts[1])} to {label_words(parts[2])}"
    return _WORDS.get(words, words)


def prompt_of(label: LabelPrompt, template: str, texts: Mapping[str, str]) -> str:
    """The prompt of a label: its words and its text, in a template of `TEMPLATES`.

    `texts` have what describes labels that come without a text.
    """
    text = label.text or texts.get(label.name, "")
    words = label_words(label.name)
    if label.heads or label.tails:
        ends = (" or ".join(map(label_words, side)) or "anything" for side in (label.heads, label.tails))
        words = "{}, from {} to {}".format(words, *ends)
    return prompts([f"{words}: {text}" if text else words], template, TEMPLATES)[0]


def prompt_batch(encoder: WordEncoder, texts: Sequence[str]) -> Batch:
    """Prompts as inputs of a model: `prompt_ids` and `prompt_mask` (T, longest).

    Raises:
        InputError: A prompt is longer than the model reads.
    """
    encoded = [encoder.text(text) for text in texts]
    for text, one in zip(texts, encoded, strict=True):
        if len(one.input_ids) == encoder.max_length:
            most = f"the {encoder.max_length} tokens that this model reads"
            raise InputError(f"the prompt {shorten(text)} fills {most}; describe the label in fewer words")
    batch = encoder.batch(encoded)
    return {"prompt_ids": batch["input_ids"], "prompt_mask": batch["attention_mask"]}
