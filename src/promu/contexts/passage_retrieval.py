"""Passages of a corpus that have to do with a post, found by its words, by meaning, or by its image (MoRe)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from promu.corpora.context_files import distinct_posts, read_contexts, write_contexts
from promu.corpora.fields import Record, Text, read_record
from promu.corpora.formats import read_posts
from promu.corpora.images import load_image
from promu.corpora.tokenize import visible
from promu.errors import InputError, counted, needs_extra
from promu.files import parse_json_object, read_records, refuse_overwriting
from promu.progress import report
from promu.schema import Post, Scheme

By = Literal["bm25", "embeddings", "image"]
"""How passages are found: BM25 over words, cosine of sentence vectors, or cosine of image and passage in the shared
space of a pre-trained promu model."""

_WORD = re.compile(r"\w+")
_BLOCK = 1024


class _Passage(Record, extra="ignore"):
    text: Text


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What came of a retrieval.

    Attributes:
        posts, with_passages: Different posts, and how many of them got a passage.
        passages: Passages of the corpus, without repeated ones.
        own_texts: How often a passage was left out because it is the post's own text.
        out: The file that was written.
    """

    posts: int
    with_passages: int
    passages: int
    own_texts: int
    out: Path

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**asdict(self), "out": str(self.out)}


def read_corpus(path: str | Path) -> list[str]:
    """The passages of a corpus, each once: JSON lines with `text`, or in a file of another suffix a line each.

    Raises:
        InputError: The file cannot be read, or holds no passage.
    """
    path = Path(path)

    def parse(line: str) -> str:
        if path.suffix.lower() != ".jsonl":
            return line.strip()
        return read_record(_Passage, parse_json_object(line), "the line", within=True).text

    return list(dict.fromkeys(" ".join(one.split()) for one in read_records(path, None, parse, "passages")))


def retrieve(
    posts: str | Path,
    corpus: str | Path,
    out: str | Path,
    *,
    by: By = "bm25",
    format: str = "posts",
    scheme: Scheme = "auto",
    top: int = 3,
    encoder: str | None = None,
    descriptions: str | Path | None = None,
    model: str | Path | None = None,
    images: str | Path | None = None,
) -> Retrieved:
    """Write the passages that have most to do with each post, as a file of contexts by the posts' ids.

    A passage that is the post's own text is left out, so that posts may be looked up among others.

    Args:
        posts: File of posts.
        corpus: As `read_corpus`.
        out: The file to write.
        by: How passages are found.
        format, scheme: Of the posts, as in `read_posts`.
        top: Passages of a post at most.
        encoder: For `embeddings`: a text encoder by folder or name, such as sentence-transformers/all-MiniLM-L6-v2.
        descriptions: A file of contexts whose texts are looked up in place of the posts' own: what an image shows.
        model, images: For `image`: a pre-trained promu model and the folder of the posts' images.

    Raises:
        InputError: A file, an image or a model cannot be used, an argument is missing, or nothing is found.

    Example:
        ```python
        from pathlib import Path
        from promu.contexts.passage_retrieval import retrieve

        Path("corpus.txt").write_text("Zorva plays the lute.\\nKelmo is a harbour.\\nMuch rain today.")
        Path("two.jsonl").write_text('{"id": "1", "text": "Zorva tonight"}')
        assert retrieve("two.jsonl", "corpus.txt", "found.jsonl", top=1).with_passages == 1
        assert Path("found.jsonl").read_text() == '{"id": "1", "text": "Zorva plays the lute."}\\n'
        ```
    """
    if top < 1:
        raise InputError(f"top is {top}; at least 1 passage is needed")
    needed: dict[str, dict[str, Any]] = {
        "embeddings": {"encoder": encoder},
        "image": {"model": model, "images": images},
    }
    given = {"encoder": encoder, "model": model, "images": images}
    if missing := [name for name, value in needed.get(by, {}).items() if value is None]:
        raise InputError(f"retrieval by {by} needs {' and '.join(missing)}; name it ({missing[0]}=)")
    if other := [name for name, value in given.items() if value is not None and name not in needed.get(by, {})]:
        raise InputError(f"retrieval by {by} takes no {other[0]}; leave it out, or choose another way (by=)")
    if by == "image" and descriptions is not None:
        raise InputError("by image the image itself is looked up; leave descriptions out, or choose another way (by=)")
    refuse_overwriting(out, posts, corpus, descriptions)
    known = distinct_posts(read_posts(posts, format, scheme=scheme))
    passages = read_corpus(corpus)
    queries = {id: " ".join(post.tokens) for id, post in known.items()}
    if descriptions is not None:
        file = read_contexts(descriptions)
        found = {id: file.about(id, "".join(post.tokens), post.image) for id, post in known.items()}
        queries = {id: text for id, text in found.items() if text is not None}
        if not queries:
            raise InputError(f"no text here is about any of {counted(len(known), 'post')}", descriptions)
    rows: Iterator[tuple[str, Sequence[int]]]
    wanted = min(top + 1, len(passages))  # one more, where the post's own text is among them
    if by == "bm25":
        rows = _by_words(queries, passages, wanted)
    elif by == "embeddings":
        rows = _by_vectors(queries, passages, str(encoder), wanted)
    else:
        rows = _by_image(known, passages, Path(str(model)), Path(str(images)), wanted)
    texts: dict[str, str] = {}
    own = 0
    for id, places in rows:
        words = visible("".join(known[id].tokens))
        others = [passages[place] for place in places if visible(passages[place]) != words]
        own += len(others) < len(places)
        if others:
            texts[id] = "\n".join(others[:top])
    if not texts:
        raise InputError(
            f"no passage has to do with any of {counted(len(known), 'post')}; is it the right corpus?", corpus
        )
    write_contexts(out, "id", texts)
    return Retrieved(len(known), len(texts), len(passages), own, Path(out))


def _by_words(queries: Mapping[str, str], passages: Sequence[str], wanted: int) -> Iterator[tuple[str, list[int]]]:
    """By BM25; a passage that shares no word with the query is none. English function words of a query do not count."""
    try:
        import bm25s
        from bm25s.stopwords import STOPWORDS_EN
    except ImportError:
        raise needs_extra("retrieval by bm25", "bm25s", "retrieval") from None
    index = bm25s.BM25()
    index.index([_words(passage) or [passage] for passage in passages], show_progress=False)
    for number, (id, query) in enumerate(queries.items(), start=1):
        words = [word for word in _words(query) if word in index.vocab_dict and word not in STOPWORDS_EN]
        if words:
            scores = index.get_scores(words)
            best = np.argsort(-scores, kind="stable")[:wanted]
            yield id, [int(place) for place in best if scores[place] > 0]
        report("retrieving", number, len(queries))


def _by_vectors(
    queries: Mapping[str, str], passages: Sequence[str], encoder: str, wanted: int
) -> Iterator[tuple[str, list[int]]]:
    """By the cosine of sentence vectors."""
    from promu.alignment.falsify import SentenceVectors

    encode = SentenceVectors(encoder)
    yield from zip(queries, _nearest(encode(list(queries.values())), encode(list(passages)), wanted), strict=True)


def _by_image(
    posts: Mapping[str, Post], passages: Sequence[str], model: Path, images: Path, wanted: int
) -> Iterator[tuple[str, list[int]]]:
    """By the cosine of image and passage in the space of L_CIT; posts without an image have none."""
    from promu.evaluation.pretrained import open_pair_model
    from promu.modeling.inputs import tensors, to_pixels

    opened: Any
    opened, encoder = open_pair_model(model)
    if not hasattr(opened, "encode_text") or getattr(opened, "space", None) is None:
        raise InputError("this model has no space that images and texts share; pre-train with L_CIT", model)
    size = opened.config.image_size
    names = list(dict.fromkeys(post.image for post in posts.values() if post.image is not None))
    if not names:
        raise InputError("no post names an image; retrieve by bm25 or embeddings")
    with torch.inference_mode():
        texts = []
        for start in range(0, len(passages), 64):
            batch = encoder.batch([encoder.text(passage) for passage in passages[start : start + 64]])
            texts.append(opened.encode_text(**tensors(batch, opened.device)).cpu())
        vectors = []
        for start in range(0, len(names), 16):
            pixels = [
                to_pixels(load_image(images / name, target=(size, size)), size) for name in names[start : start + 16]
            ]
            vectors.append(opened.encode_images(torch.from_numpy(np.stack(pixels)).to(opened.device)).cpu())
            report("images", min(start + 16, len(names)), len(names))
    nearest = dict(zip(names, _nearest(torch.cat(vectors).float(), torch.cat(texts).float(), wanted), strict=True))
    for id, post in posts.items():
        if post.image is not None:
            yield id, nearest[post.image]


def _nearest(queries: torch.Tensor, passages: torch.Tensor, wanted: int) -> Iterator[list[int]]:
    for start in range(0, len(queries), _BLOCK):  # which bounds the memory
        yield from (queries[start : start + _BLOCK] @ passages.T).topk(wanted, dim=1).indices.tolist()


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
