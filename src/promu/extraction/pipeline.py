"""MNER, then MRE, as a joint system: the rival of joint extraction, scored on the same sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from promu.corpora.formats import paper_name
from promu.extraction.extractor import Extractor
from promu.extraction.result import Extraction
from promu.progress import track
from promu.schema import MissingPostImage, Post


def pipeline_answers(
    extractor: Extractor,
    posts: Sequence[Post],
    images: Path | None = None,
    missing_images: MissingPostImage = "raise",
    batch_size: int = 32,
) -> tuple[list[Post], dict[str, int]]:
    """The posts with what the two models find in place of gold.

    Relations get a joint set's names, `member_of` for `/per/org/member_of`, and entity types the gold's spelling: a
    model of Twitter's posts says PER and OTHER where a JMERE file has per and misc. A type that the gold lacks is put
    in lower case if all of the gold's are.

    Args:
        extractor: With a model for each of the two tasks.
        posts: Of a joint set; no gold of theirs is read but the spelling of types.
        images: Folder of their images; None reads text alone.
        missing_images: As in `Extractor.extract`.
        batch_size: Posts a forward pass.

    Returns:
        The posts, and how many were read `with image` and how many `as text`.
    """
    spelling = {paper_name(str(entity.type)): str(entity.type) for post in posts for entity in post.entities}
    lower = all(name.islower() for name in spelling.values())
    asked = [Post(post.id, post.tokens, None if images is None else post.image) for post in posts]
    found: list[Post] = []
    read = {"with image": 0, "as text": 0}
    extracted = extractor.extract(asked, batch_size, images=images, missing_images=missing_images)
    for extraction in track(extracted, "reading", len(posts)):
        post = posts[len(found)]
        found.append(_respelled(post, extraction, spelling, lower))
        read["with image" if extraction.image == "used" else "as text"] += 1
    return found, read


def _respelled(post: Post, found: Extraction, spelling: dict[str, str], lower: bool) -> Post:
    def spelled(kind: str) -> str:
        return spelling.get(paper_name(kind)) or (paper_name(kind).lower() if lower else kind)

    entities = tuple(replace(entity, type=spelled(str(entity.type))) for entity in found.entities)
    relations = tuple(
        replace(relation, type=relation.type.rpartition("/")[2] if relation.type.startswith("/") else relation.type)
        for relation in found.relations
    )
    return replace(post, entities=entities, relations=relations)
