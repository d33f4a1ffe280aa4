"""A joint set as two sets, one for each of the tasks that a pipeline is made of: MNER, then MRE.

So that a pipeline can learn from the very posts that a joint model learns from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

from promu.corpora.conll import write_conll
from promu.corpora.folders import new_folder
from promu.corpora.joint import read_joint
from promu.corpora.mnre import write_mnre
from promu.errors import InputError
from promu.schema import NO_RELATION, Entity, Post, Relation

FILES = {
    "train": ("ner/train.txt", "re/mnre_train.txt"),
    "valid": ("ner/valid.txt", "re/mnre_val.txt"),
    "test": ("ner/test.txt", "re/mnre_test.txt"),
}


def write_pipeline_sets(files: Mapping[str, Path], out: Path) -> dict[str, dict[str, int]]:
    """Write JMERE files as CoNLL under `out/ner` and as MNRE under `out/re`; all are there or none.

    Entities are those of the quintuples; of two that overlap, which CoNLL cannot hold, the first in the post's order
    stays. MNRE gets each quintuple under `/head type/tail type/relation`, and `None` for every other ordered pair of
    the post's entities.

    Args:
        files: By split, names of `FILES`.
        out: The folder to make.

    Returns:
        By split: `posts`, `entities`, `relations`, `none_pairs`, `overlapping_entities` (left out of CoNLL alone).

    Raises:
        InputError: A file cannot be read, holds what a format cannot, or `out` is there already and not empty.
    """
    counts = {}
    with new_folder(out) as building:
        for task in ("ner", "re"):
            (building / task).mkdir()
        for split, path in files.items():
            posts = read_joint(path).posts
            entities, pairs = [entity_post(post) for post in posts], [pair_post(post) for post in posts]
            for_entities, for_relations = FILES[split]
            try:
                write_conll(building / for_entities, entities)
                write_mnre(building / for_relations, pairs)
            except InputError as error:
                raise InputError(error.reason, path) from None
            counts[split] = {
                "posts": len(posts),
                "entities": _entities(entities),
                "relations": sum(len(post.relations) for post in posts),
                "none_pairs": sum(relation.type == NO_RELATION for post in pairs for relation in post.relations),
                "overlapping_entities": _entities(posts) - _entities(entities),
            }
    return counts


def entity_post(post: Post) -> Post:
    """The post with its entities by position, none that overlaps an earlier one, and no relations."""
    kept: list[Entity] = []
    for entity in post.entities:
        if all(entity.end <= other.start or other.end <= entity.start for other in kept):
            kept.append(entity)
    return replace(post, entities=tuple(sorted(kept, key=lambda entity: entity.start)), relations=())


def pair_post(post: Post) -> Post:
    """The post with a relation in MNRE's form for every ordered pair of its entities, `None` where there is none."""
    named = [_named(relation, post.entities) for relation in post.relations]
    known = {(relation.head, relation.tail) for relation in named}
    spans = [(entity.start, entity.end) for entity in post.entities]
    pairs = [
        Relation(head, tail, NO_RELATION)
        for head, tail in permutations(range(len(spans)), 2)
        if (head, tail) not in known and spans[head] != spans[tail]
    ]
    return replace(post, relations=(*named, *pairs))


def _named(relation: Relation, entities: Sequence[Entity]) -> Relation:
    head, tail = entities[relation.head].type, entities[relation.tail].type
    return replace(relation, type=f"/{head}/{tail}/{relation.type}")


def _entities(posts: Sequence[Post]) -> int:
    return sum(len(post.entities) for post in posts)
