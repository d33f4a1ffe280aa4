"""Files of annotation tools: doccano, Label Studio, Prodigy, and JSON lines that mark characters.

Every reader also reads what people make of these formats by hand: a span as `[start, end, type]` or as a mapping, its
type under `label` or `type`. Where a span says its text, it is compared; offsets that count UTF-16 units, as those that
JavaScript counts do, are then recognised. Writers write what the tool imports.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from promu.corpora.char_spans import (
    CharRelation,
    CharSpan,
    InsideWord,
    LeaveOut,
    Marked,
    from_post,
    json_objects,
    read_marked,
)
from promu.corpora.fields import TOKENS, check_field
from promu.corpora.tokenize import align, same_words
from promu.errors import InputError
from promu.files import json_list, read_text, shorten, write_lines, write_text
from promu.schema import Post

STARTS, ENDS, TYPES = ("start", "start_offset", "char_start"), ("end", "end_offset", "char_end"), ("label", "type")
SPAN_LISTS = ("spans", "entities", "label", "labels")
_MINIMAL = ("annotator", "annotation_id", "created_at", "updated_at", "lead_time")
"""What Label Studio adds of its own to a task in JSON-MIN."""


def read_spans(
    path: str | Path, problems: list[InputError] | None = None, *, inside_word: InsideWord = "leave-out"
) -> list[Post]:
    """Read JSON lines that mark characters: doccano's, with or without relations, and others of that shape.

    A line is `{"text", "entities": [{"id", "label", "start_offset", "end_offset"}], "relations": [{"from_id", "to_id",
    "type"}]}`, or `{"text", "label": [[start, end, type]]}`. Errors as of every reader (`promu.corpora`); what is left
    out is an error too, with a kind in `LEFT_OUT`.
    """
    path = Path(path)
    return read_marked(path, problems, json_objects(path, problems), _parse_spans, inside_word)


def write_doccano(path: str | Path, posts: Iterable[Post]) -> None:
    """Write JSON lines that doccano imports into a project with relations; atomic."""
    write_lines(path, [json.dumps(_doccano_record(post), ensure_ascii=False) for post in posts])


def write_spans(path: str | Path, posts: Iterable[Post]) -> None:
    """Write JSON lines with characters: `entities` (`start`, `end`, `type`, `text`), `relations` by number; atomic."""
    write_lines(path, [json.dumps(_span_record(post), ensure_ascii=False) for post in posts])


def read_label_studio(
    path: str | Path, problems: list[InputError] | None = None, *, inside_word: InsideWord = "leave-out"
) -> list[Post]:
    """Read a JSON export of Label Studio (JSON or JSON-MIN): spans and relations of each task's first annotation."""
    path = Path(path)
    text = read_text(path)
    if not text.lstrip().startswith("["):
        raise InputError("a JSON list of tasks is expected; export the project as JSON", path)
    elements = ((line, item and item[1]) for line, item in json_list(path, text, problems))
    return read_marked(path, problems, elements, _parse_task, inside_word)


def write_label_studio(path: str | Path, posts: Iterable[Post]) -> None:
    """Write tasks with annotations that Label Studio imports: `Labels` named label on a `Text` named text; atomic."""
    tasks = [_task(post) for post in posts]
    write_text(path, (json.dumps(tasks, ensure_ascii=False, indent=1), "\n"))


def read_prodigy(
    path: str | Path, problems: list[InputError] | None = None, *, inside_word: InsideWord = "leave-out"
) -> list[Post]:
    """Read JSON lines of Prodigy (`db-out`): spans, relations and words; answers other than accept are left out."""
    path = Path(path)
    return read_marked(path, problems, json_objects(path, problems), _parse_prodigy, inside_word)


def write_prodigy(path: str | Path, posts: Iterable[Post]) -> None:
    """Write JSON lines that Prodigy's ner and rel recipes read, words included; atomic."""
    write_lines(path, [json.dumps(_prodigy_record(post), ensure_ascii=False) for post in posts])


def _parse_spans(raw: Mapping[str, Any], line: int, leave_out: LeaveOut) -> Marked:
    text = _string(raw, "text" if "text" in raw or "data" not in raw else "data")
    marking = [name for name in SPAN_LISTS if _marks(raw.get(name))]
    if len(marking) > 1:
        raise InputError(f"{' and '.join(marking)} all mark spans; keep one of them")
    name = next((name for name in (*marking, *SPAN_LISTS) if raw.get(name)), None)
    spans = [] if name is None else _spans(raw[name], f"{name}[{{}}]", leave_out)
    relations = []
    for number, item in enumerate(_list(raw, "relations")):
        if not isinstance(item, Mapping):
            raise InputError(f"relations[{number}] must be a mapping, found {shorten(item)}")
        names = ("from_id", "to_id") if "from_id" in item else ("head", "tail")
        kind = _one(item, TYPES, f"relations[{number}]")
        if not isinstance(kind, str) or any(type(item.get(name)) not in (int, str) for name in names):
            raise InputError(f"relations[{number}] needs {names[0]}, {names[1]} and type, found {shorten(item)}")
        relations.append(CharRelation(item[names[0]], item[names[1]], kind))
    words: Sequence[tuple[int, int]] | None = None
    if tokens := _list(raw, "tokens"):
        named = isinstance(tokens[0], str)
        words = align(check_field(TOKENS, tokens, "tokens"), text) if named else _words(tokens, text)
    known = {
        "id",
        "text",
        "data",
        "image",
        "relations",
        "tokens",
        name,
        *(one for one in SPAN_LISTS if not raw.get(one)),
    }
    extra = {key: value for key, value in raw.items() if key not in known}
    return Marked(_id(raw, line), text, spans, relations, _image(raw), words, extra)


def _marks(value: Any) -> bool:
    """Whether a value is a list of spans, not one of labels of the whole text."""
    return isinstance(value, list) and any(not isinstance(item, str) for item in value)


def _one(item: Mapping[str, Any], names: Sequence[str], what: str) -> Any:
    """What a mapping says under one of several names; None where it says nothing.

    Raises:
        InputError: It says different things under two of them.
    """
    said = {name: item[name] for name in names if item.get(name) is not None}
    for name, value in said.items():
        first, known = next(iter(said.items()))
        if value != known:
            reason = f"{what} contradicts itself: {first} is {shorten(known)}, but {name} is {shorten(value)}"
            raise InputError(f"{reason}; keep the right one")
    return next(iter(said.values()), None)


def _words(tokens: Sequence[Any], text: str) -> list[tuple[int, int]]:
    """Where words given as mappings lie in their text.

    Raises:
        InputError: One has no start and end, or says that its text is another than there.
    """
    words = []
    for number, item in enumerate(tokens):
        facts: Mapping[str, Any] = item if isinstance(item, Mapping) else {}
        start, end, said = facts.get("start"), facts.get("end"), facts.get("text")
        if type(start) is not int or type(end) is not int:
            raise InputError(f"tokens[{number}] must have start and end in characters, found {shorten(item)}")
        if isinstance(said, str) and not same_words(said, text[start:end]):
            reason = f"tokens[{number}] contradicts itself: its text is {shorten(said)}, but at [{start}, {end}]"
            raise InputError(f"{reason} is {shorten(text[start:end])}; correct one of them")
        words.append((start, end))
    return words


def _spans(value: Any, what: str, leave_out: LeaveOut) -> list[CharSpan]:
    """Spans as lists or mappings; a key is the span's id, else its number."""
    if not isinstance(value, list):
        raise InputError(f"{what[:-4]} must be a list of spans, found {shorten(value)}")
    spans = []
    for number, item in enumerate(value):
        place = what.format(number)
        if isinstance(item, str):
            leave_out("label of another kind", f"{place} {shorten(item)} labels the whole text, not a part of it")
            continue
        start, end, kind, key, text = None, None, None, number, None
        if isinstance(item, list) and len(item) == 3:
            start, end, kind = item
        elif isinstance(item, Mapping):
            start, end, kind = (_one(item, names, place) for names in (STARTS, ENDS, TYPES))
            if isinstance(kind, list) and len(kind) == 1:
                kind = kind[0]
            key, text = number if item.get("id") is None else item["id"], item.get("text")
            if type(key) not in (int, str):
                raise InputError(f"id of {place} must be a number or a string, found {shorten(key)}")
        if type(start) is not int or type(end) is not int or not isinstance(kind, str) or not kind.strip():
            raise InputError(f"{place} must have start and end in characters and a label, found {shorten(item)}")
        spans.append(CharSpan(start, end, kind, key, text if isinstance(text, str) else None))
    return spans


def _doccano_record(post: Post) -> dict[str, Any]:
    marked = from_post(post)
    entities = [
        {"id": span.key, "label": span.type, "start_offset": span.start, "end_offset": span.end}
        for span in marked.spans
    ]
    relations = [
        {"id": number, "from_id": one.head, "to_id": one.tail, "type": one.type}
        for number, one in enumerate(marked.relations)
    ]
    return _record(marked, entities=entities, relations=relations)


def _span_record(post: Post) -> dict[str, Any]:
    marked = from_post(post)
    spans = [{"start": one.start, "end": one.end, "type": one.type, "text": one.text} for one in marked.spans]
    relations = [{"head": one.head, "tail": one.tail, "type": one.type} for one in marked.relations]
    return _record(marked, entities=spans, relations=relations)


def _record(marked: Marked, **labels: Any) -> dict[str, Any]:
    image = {} if marked.image is None else {"image": marked.image}
    own = {"id": marked.id, "text": marked.text, **image, **labels}
    return own | {key: value for key, value in marked.extra.items() if key not in own and key not in SPAN_LISTS}


def _parse_task(raw: Any, line: int, leave_out: LeaveOut) -> Marked | None:
    if not isinstance(raw, Mapping):
        raise InputError(f"a task must be a mapping, found {shorten(raw)}")
    data, results = raw.get("data", raw), None
    if not isinstance(data, Mapping):
        raise InputError(f"data of the task must be a mapping, found {shorten(data)}")
    if "data" in raw:
        made = [one for one in _list(raw, "annotations") if isinstance(one, Mapping) and not one.get("was_cancelled")]
        if not made:
            leave_out(
                "answer", f"task {shorten(raw.get('id'))} has no annotation; label it, or leave it out of the export"
            )
            return None
        if len(made) > 1:
            leave_out(
                "answer", f"task {shorten(raw.get('id'))} has {len(made)} annotations, of which the first is read"
            )
        results = _list(made[0], "result")
    name = _text_key(data)
    text = str(data[name])
    spans: list[CharSpan] = []
    relations: list[CharRelation] = []
    lists: dict[str, list[Any]] = {}
    if results is None:  # JSON-MIN: a list of spans under the name of the control
        lists = {key: value for key, value in data.items() if _marks(value) and isinstance(value[0], Mapping)}
        for found in lists.values():
            spans += _spans(_first_labels(found, leave_out), "labels[{}]", leave_out)
    for number, item in enumerate(results or ()):
        _add_result(item, f"result[{number}]", spans, relations, leave_out)
    own = data if "id" in data else raw
    known = {"id", name, "image", *(() if results is not None else (*_MINIMAL, *lists))}
    extra = {key: value for key, value in data.items() if key not in known}
    return Marked(_id(own, line), text, spans, relations, _image(data), None, extra)


def _text_key(data: Mapping[str, Any]) -> str:
    """The key of a task's text: `text`, or the only one of a string."""
    if isinstance(data.get("text"), str):
        return "text"
    own = {"id", "image", *_MINIMAL}
    strings = [str(key) for key, value in data.items() if isinstance(value, str) and key not in own]
    if len(strings) != 1:
        raise InputError(f"which of its keys is the text? Name it text; they are {', '.join(map(str, data))}")
    return strings[0]


def _first_labels(spans: list[Any], leave_out: LeaveOut) -> list[Any]:
    """Spans of Label Studio, `labels` taken as a label; each further label makes a span of its own."""
    found = []
    for item in spans:
        labels = item.get("labels") or item.get("hypertextlabels") if isinstance(item, Mapping) else None
        if not isinstance(labels, list):
            leave_out("label of another kind", f"{shorten(item)} marks no part of a text")
            continue
        found += [
            {**{key: item[key] for key in ("start", "end", "text", "id") if key in item}, "label": one}
            for one in labels
        ]
    return found


def _add_result(
    item: Any, what: str, spans: list[CharSpan], relations: list[CharRelation], leave_out: LeaveOut
) -> None:
    """One result of an annotation: a span, a relation, or something else, which is left out."""
    if not isinstance(item, Mapping):
        raise InputError(f"{what} must be a mapping, found {shorten(item)}")
    kind, value = item.get("type"), item.get("value")
    if kind == "relation":
        labels = _list(item, "labels") or ["related"]
        ends = (item.get("from_id"), item.get("to_id"))
        if any(type(end) not in (int, str) for end in ends):
            raise InputError(f"{what} needs from_id and to_id, the ids of two spans, found {shorten(item)}")
        if item.get("direction") == "left":
            ends = (ends[1], ends[0])
        elif item.get("direction") == "bi":
            leave_out("relation", f"{what}: relation {shorten(labels[0])} goes both ways; from_id to to_id is read")
        relations.extend(CharRelation(*ends, str(label)) for label in labels)
    elif kind == "labels" and isinstance(value, Mapping):
        found = _spans(_first_labels([{**value, "id": item.get("id")}], leave_out), what + "[{}]", leave_out)
        if not found:
            leave_out("no type", f"{what}: the span {shorten(value.get('text'))} has no label")
        spans.extend(found)
    else:
        leave_out("label of another kind", f"{what} is of type {shorten(kind)}, not a label of a plain text's part")


def _task(post: Post) -> dict[str, Any]:
    marked = from_post(post)
    image = {} if marked.image is None else {"image": marked.image}
    results: list[dict[str, Any]] = [
        {
            "id": f"e{span.key}",
            "from_name": "label",
            "to_name": "text",
            "type": "labels",
            "value": {"start": span.start, "end": span.end, "text": span.text, "labels": [span.type]},
        }
        for span in marked.spans
    ]
    results += [
        {
            "type": "relation",
            "from_id": f"e{one.head}",
            "to_id": f"e{one.tail}",
            "direction": "right",
            "labels": [one.type],
        }
        for one in marked.relations
    ]
    own = {"id": marked.id, "text": marked.text, **image}
    extra = {key: value for key, value in marked.extra.items() if key not in own}
    return {"data": {**own, **extra}, "annotations": [{"result": results}]}


def _parse_prodigy(raw: Mapping[str, Any], line: int, leave_out: LeaveOut) -> Marked | None:
    if raw.get("answer", "accept") != "accept":
        leave_out("answer", f"the answer is {shorten(raw['answer'])}; only what was accepted is read")
        return None
    text, about = _string(raw, "text"), raw.get("meta")
    meta: Mapping[str, Any] = about if isinstance(about, Mapping) else {}
    words = _words(_list(raw, "tokens"), text)
    spans = _worded(_list(raw, "spans"), words, "spans[{}]", leave_out)
    relations = []
    for number, item in enumerate(_list(raw, "relations")):
        facts: Mapping[str, Any] = item if isinstance(item, Mapping) else {}
        ends: list[Any] = [facts.get(name) for name in ("head_span", "child_span")]
        if not all(isinstance(end, Mapping) for end in ends) or not isinstance(facts.get("label"), str):
            raise InputError(f"relations[{number}] needs head_span, child_span and label, found {shorten(item)}")
        head, tail = _worded(ends, words, f"end {{}} of relations[{number}]", leave_out)
        for name, end in (("head", head), ("child", tail)):
            token = facts.get(name)
            start, stop = words[token] if type(token) is int and 0 <= token < len(words) else (end.start, end.end)
            if stop <= end.start or start >= end.end:
                reason = f"relations[{number}] contradicts itself: {name} is word {token}, at [{start}, {stop}]"
                raise InputError(f"{reason}, but {name}_span is at [{end.start}, {end.end}]; correct one of them")
        relations.append(CharRelation(head.key, tail.key, facts["label"]))
    image = _image(raw) or _image(meta)
    known = {"text", "tokens", "spans", "relations", "meta", "answer", "id", "image"}
    further = {key: value for key, value in raw.items() if key not in known and not key.startswith("_")}
    extra = further | {key: value for key, value in meta.items() if key not in ("id", "image")}
    return Marked(_id(raw if "id" in raw else meta, line), text, spans, relations, image, words or None, extra)


def _worded(items: list[Any], words: Sequence[tuple[int, int]], what: str, leave_out: LeaveOut) -> list[CharSpan]:
    """Spans of Prodigy's, known by their characters and label, which must be those of the words that they name.

    Raises:
        InputError: They are other characters, or as `_spans`.
    """
    spans = _spans(items, what, leave_out)
    for number, (item, span) in enumerate(zip(items, spans, strict=False)):
        for name, edge, place, side in (("token_start", "start", span.start, 0), ("token_end", "end", span.end, 1)):
            word = item.get(name) if words and isinstance(item, Mapping) else None
            if type(word) is int and (not 0 <= word < len(words) or words[word][side] != place):
                there = f", which {edge}s at {words[word][side]}" if 0 <= word < len(words) else f" of {len(words)}"
                reason = (
                    f"{what.format(number)} contradicts itself: {edge} is {place}, but {name} is word {word}{there}"
                )
                raise InputError(f"{reason}; correct one of them")
    return [span._replace(key=(span.start, span.end, span.type)) for span in spans]


def _prodigy_record(post: Post) -> dict[str, Any]:
    marked = from_post(post)
    words = list(marked.words or ())
    tokens = [
        {
            "text": marked.text[start:end],
            "start": start,
            "end": end,
            "id": number,
            "ws": marked.text[end : end + 1] == " ",
        }
        for number, (start, end) in enumerate(words)
    ]
    spans = [
        {
            "start": span.start,
            "end": span.end,
            "token_start": entity.start,
            "token_end": entity.end - 1,  # Prodigy counts the last word in
            "label": span.type,
        }
        for span, entity in zip(marked.spans, post.entities, strict=True)
    ]
    relations = [
        {
            "head": spans[one.head]["token_end"],
            "child": spans[one.tail]["token_end"],
            "head_span": spans[one.head],
            "child_span": spans[one.tail],
            "label": one.type,
        }
        for one in post.relations
    ]
    meta = {**marked.extra, "id": marked.id} | ({} if marked.image is None else {"image": marked.image})
    return {
        "text": marked.text,
        "tokens": tokens,
        "spans": spans,
        "relations": relations,
        "meta": meta,
        "answer": "accept",
    }


def _string(raw: Mapping[str, Any], name: str) -> str:
    value = raw.get(name)
    if not isinstance(value, str):
        keys = ", ".join(map(str, list(raw)[:12])) or "none"
        raise InputError(f"{name} must be a string, found {shorten(value)}; the keys are {keys}")
    return value


def _list(raw: Mapping[str, Any], name: str) -> list[Any]:
    value = raw.get(name) or []
    if not isinstance(value, list):
        raise InputError(f"{name} must be a list, found {shorten(value)}")
    return value


def _id(raw: Mapping[str, Any], line: int) -> str:
    value = raw.get("id")
    return str(value) if isinstance(value, int | str) and str(value).strip() else str(line)


def _image(raw: Mapping[str, Any]) -> str | None:
    value = raw.get("image")
    return value if isinstance(value, str) and value.strip() else None
