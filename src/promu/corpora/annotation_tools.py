"""Files of annotation tools: doccano, Label Studio, Prodigy, and JSON lines that mark characters.

Every reader also reads what people make of these formats by hand: a span as `[start, end, type]` or as a mapping, its
type under `label` or `type`. Where a span says its text, it is compared; offsets that count UTF-16 units, as those that
JavaScript counts do, are then recognised. Writers write what the tool imports.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
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
from promu.errors import InputError
from promu.files import json_list, read_text, shorten, write_lines, write_text
from promu.schema import Post

STARTS, ENDS, TYPES = ("start", "start_offset", "char_start"), ("end", "end_offset", "char_end"), ("label", "type")
SPAN_LISTS = ("spans", "entities", "label", "labels")


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
    name = next((name for name in SPAN_LISTS if raw.get(name)), None)
    spans = [] if name is None else _spans(raw[name], f"{name}[{{}}]", leave_out)
    relations = []
    for number, item in enumerate(_list(raw, "relations")):
        if not isinstance(item, Mapping):
            raise InputError(f"relations[{number}] must be a mapping, found {shorten(item)}")
        names = ("from_id", "to_id") if "from_id" in item else ("head", "tail")
        kind = next((item[name] for name in TYPES if isinstance(item.get(name), str)), None)
        if kind is None or any(type(item.get(name)) not in (int, str) for name in names):
            raise InputError(f"relations[{number}] needs {names[0]}, {names[1]} and type, found {shorten(item)}")
        relations.append(CharRelation(item[names[0]], item[names[1]], kind))
    known = {"id", "text", "data", "image", "relations", name}
    return Marked(
        _id(raw, line), text, spans, relations, _image(raw), None, {k: v for k, v in raw.items() if k not in known}
    )


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
            start, end, kind = (
                next((item[one] for one in names if one in item), None) for names in (STARTS, ENDS, TYPES)
            )
            if isinstance(kind, list) and len(kind) == 1:
                kind = kind[0]
            key, text = item.get("id", number), item.get("text")
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
    text = _task_text(data)
    spans: list[CharSpan] = []
    relations: list[CharRelation] = []
    if results is None:  # JSON-MIN: a list of spans under the name of the control
        lists = [
            value for value in data.values() if isinstance(value, list) and value and isinstance(value[0], Mapping)
        ]
        spans = [span for value in lists for span in _spans(_first_labels(value, leave_out), "labels[{}]", leave_out)]
    for number, item in enumerate(results or ()):
        _add_result(item, f"result[{number}]", spans, relations, leave_out)
    own = data if "id" in data else raw
    extra = {key: value for key, value in data.items() if key not in ("id", "text", "image")} if "data" in raw else {}
    return Marked(_id(own, line), text, spans, relations, _image(data), None, extra)


def _task_text(data: Mapping[str, Any]) -> str:
    if isinstance(data.get("text"), str):
        return str(data["text"])
    strings = [value for key, value in data.items() if isinstance(value, str) and key not in ("id", "image")]
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
        leave_out("label of another kind", f"{what} is of type {shorten(kind)}, which marks no part of a text")


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
    tokens: list[Any] = [item if isinstance(item, Mapping) else {} for item in _list(raw, "tokens")]
    words: list[Any] = [(item.get("start"), item.get("end")) for item in tokens]
    if any(type(edge) is not int for word in words for edge in word):
        raise InputError("every item of tokens must have start and end in characters")
    spans = [
        span._replace(key=(span.start, span.end, span.type))
        for span in _spans(_list(raw, "spans"), "spans[{}]", leave_out)
    ]
    relations = []
    for number, item in enumerate(_list(raw, "relations")):
        facts: Mapping[str, Any] = item if isinstance(item, Mapping) else {}
        ends: list[Any] = [facts.get(name) for name in ("head_span", "child_span")]
        if not all(isinstance(end, Mapping) for end in ends) or not isinstance(facts.get("label"), str):
            raise InputError(f"relations[{number}] needs head_span, child_span and label, found {shorten(item)}")
        head, tail = ((end.get("start"), end.get("end"), end.get("label")) for end in ends)
        relations.append(CharRelation(head, tail, facts["label"]))
    image = _image(raw) or _image(meta)
    extra = {key: value for key, value in meta.items() if key not in ("id", "image")}
    return Marked(_id(raw if "id" in raw else meta, line), text, spans, relations, image, words or None, extra)


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
