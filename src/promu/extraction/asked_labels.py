"""The models of an extractor with the labels that a call asks for: their own, or types and relations in prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from promu.errors import InputError
from promu.extraction.extraction_config import ExtractionConfig
from promu.extraction.passes import entity_types_of
from promu.extraction.type_rules import TypeRules, listed
from promu.modeling.label_prompts import relation_prompts, type_prompts
from promu.schema import NO_RELATION
from promu.tasks.predictor import Predictor

KEPT = 32
"""Different questions whose labels are kept as vectors."""

Key = tuple[tuple[str, ...] | None, tuple[str, ...] | None, tuple[tuple[str, str], ...], tuple[str, ...]]


class Models(NamedTuple):
    """What answers one call.

    Attributes:
        finder: Finds entities; None where posts bring them.
        relater: Names the relation of a pair; None where the finder is a joint model, or none is there.
        rules: Between which entities the relations may hold.
        entity_types, relation_types: The types and relations that are found, in alphabetical order.
    """

    finder: Predictor | None
    relater: Predictor | None
    rules: TypeRules
    entity_types: tuple[str, ...]
    relation_types: tuple[str, ...]


class AskedModels:
    """Models by the labels that are asked for; what was made of a question's prompts is kept. Threads may share it.

    Args:
        finder, relater: As of `Models`, asked for their own labels.
    """

    def __init__(self, finder: Predictor | None, relater: Predictor | None) -> None:
        self.finder, self.relater = finder, relater
        self._kept: dict[Key, Models] = {}

    @property
    def _relating(self) -> Predictor | None:
        """What names relations: a model of its own, or the joint one."""
        joint = self.finder is not None and self.finder.task.name == "joint"
        return self.finder if joint else self.relater

    def of(self, config: ExtractionConfig) -> Models:
        """The models that answer a call with these options.

        Raises:
            InputError: Types or relations are asked for that cannot be, or `threshold` names what is not found.
        """
        # sorted, so that equal questions are one
        names = tuple(sorted(config.type_map.items())), tuple(sorted(config.threshold))
        key = (config.types, config.relations, *names)
        models = self._kept.get(key)
        if models is None:
            models = self._ask(config)
            if len(self._kept) >= KEPT:
                self._kept.clear()
            self._kept[key] = models
        return models

    def _ask(self, config: ExtractionConfig) -> Models:
        finder, relater, relating = self.finder, self.relater, self._relating
        ends: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        if config.types is not None:
            if finder is None:
                raise InputError("types asks for entities, and there is no model to find them; name one with ner/")
            finder = finder.asking(type_prompts(config.types))
        found = () if finder is None else entity_types_of(finder)
        if config.relations is not None:
            if relater is None:
                alone = "finds relations with entities, of its own labels alone" if relating else "finds no relations"
                raise InputError(f"relations asks for relations, and this model {alone}; name one with re/")
            prompts = relation_prompts(config.relations, None if finder is None else found)
            relater = relating = relater.asking(prompts)
            ends = {one.name: (one.heads, one.tails) for one in prompts if one.heads or one.tails}
        labels = () if relating is None else relating.labels
        own: Mapping[str, str] = (relating and relating.config.types) or {}
        rules = TypeRules(labels, {**own, **config.type_map}, ends)
        related = tuple(sorted(set(labels) - {NO_RELATION}))
        if unknown := sorted(set(config.threshold) - {*found, *related}):
            known = listed([*found, *related])
            raise InputError(f"threshold names {unknown[0]!r}, which is not found here; found are {known}")
        return Models(finder, relater, rules, found, related)

    def check(self, config: ExtractionConfig) -> list[str]:
        """What keeps relations from being found, in sentences; a joint model has its own types in its labels.

        Raises:
            InputError: As `of`; or `type_map` cannot be used.
        """
        models = self.of(config)
        if models.relater is None and config.type_map:
            raise InputError("type_map says what a relation model calls the types of another; there is none here")
        if models.finder is None or models.relater is None:
            return []
        return models.rules.check(models.entity_types)
