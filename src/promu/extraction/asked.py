"""What a caller wants of each post."""

from __future__ import annotations

from dataclasses import dataclass

from promu.errors import InputError


@dataclass(frozen=True, slots=True)
class Asked:
    """What a caller wants of each post, whichever way it comes.

    Attributes:
        batch_size: Posts, or pairs of entities, a forward pass.
        entity_threshold: Entities that are found with a lower score are left out, and no relation is sought for them.
        relation_threshold: Relations with a lower score are left out.
        explain: Also say what the fused vectors attended to (`Extraction.explanation`).
        max_pairs: Ordered pairs of entities whose types a relation fits; a post with more is refused. None for any
            number.

    Raises:
        InputError: A value is out of range.
    """

    batch_size: int = 32
    entity_threshold: float = 0.0
    relation_threshold: float = 0.0
    explain: bool = False
    max_pairs: int | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}; at least 1 is needed")
        for name in ("entity_threshold", "relation_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}; scores are from 0 to 1")
        if self.max_pairs is not None and self.max_pairs < 0:
            raise InputError(f"max_pairs is {self.max_pairs}; at least 0 is needed, or None for any number")
