"""Which of a model's answers about a post are sure enough to be kept."""

from __future__ import annotations

from dataclasses import replace

from promu.schema import Post


def sure_enough(post: Post, entity_threshold: float, relation_threshold: float) -> Post:
    """The post without entities and relations of lower scores, and without relations of entities left out."""
    kept = [index for index, entity in enumerate(post.entities) if (entity.score or 0.0) >= entity_threshold]
    place = {index: number for number, index in enumerate(kept)}
    return replace(
        post,
        entities=tuple(post.entities[index] for index in kept),
        relations=tuple(
            replace(relation, head=place[relation.head], tail=place[relation.tail])
            for relation in post.relations
            if relation.head in place and relation.tail in place and (relation.score or 0.0) >= relation_threshold
        ),
    )
