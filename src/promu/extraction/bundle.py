"""Two fine-tuned models in one folder, as the extractor, the service and bulk runs open it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promu.errors import InputError
from promu.extraction.extractor import Extractor
from promu.files import atomic, write_json
from promu.tasks.model_folder import find_models, task_of

LEFT = shutil.ignore_patterns("*.tmp", "*.part", "checkpoint*", ".*")
"""What is not copied of a model's folder."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A folder with `ner/` and `re/`.

    Attributes:
        path: The folder.
        entity_types: What the entity model finds.
        relations: What the relation model finds, `None` left out.
        types: Entity type -> the type that the relations' labels have for it.
        warnings: What is wrong between the two, in sentences: relations that can never be found.

    Example:
        ```python
        import promu

        result = promu.bundle("runs/pair", ner="runs/newsreel-ner/model", re="runs/newsreel-re/model")
        assert "PER" in result.entity_types and not result.warnings
        ```
    """

    path: Path
    entity_types: list[str]
    relations: list[str]
    types: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        lists = {name: getattr(self, name) for name in ("entity_types", "relations", "types", "warnings")}
        return {"path": str(self.path), **lists}


def bundle(out: str | Path, *, ner: str | Path, re: str | Path, types: Mapping[str, str] | None = None) -> Bundle:
    """Copy an entity model and a relation model into one folder, which extracts both.

    Both models are opened once, so that what cannot work together is refused now; the folder is there whole or not.

    Args:
        out: The folder to make; it must not exist, or be empty.
        ner: The entity model: the `model` folder of its run, a folder with `ner/`, or a hub name.
        re: The relation model, named in the same ways.
        types: Entity type -> the type that the relations' labels have for it, where the two name types differently; it
            is stored with the relation model.

    Raises:
        InputError: A folder holds no model of its task, or the models do not go together; `out` is taken.

    Example:
        ```python
        import promu

        promu.bundle("runs/both", ner="runs/newsreel-ner/model", re="runs/newsreel-re/model")
        extractor = promu.Extractor.from_pretrained("runs/both")
        ```
    """
    homes = {task: _home(task, name) for task, name in (("ner", ner), ("re", re))}
    with atomic(out, folder=True) as building:
        for task, home in homes.items():
            shutil.copytree(home, building / task, ignore=LEFT)
        if types:
            path = building / "re" / "config.json"
            config = json.loads(path.read_text(encoding="utf-8"))
            of_task = config["tasks"]["re"] if config.get("tasks") else config
            of_task["types"] = dict(types)
            write_json(path, config)
        extractor = Extractor.from_pretrained(building, device="cpu")
    found = list(extractor.entity_types), list(extractor.relation_types)
    return Bundle(Path(out), *found, dict(types or {}), list(extractor.warnings))


def _home(task: str, name: str | Path) -> Path:
    """The folder of a task's model."""
    homes = dict(find_models(name))
    if task not in homes:
        found = next(iter(homes))
        raise InputError(f"this holds a model for the task {found!r}; name one for {task!r}", name)
    task_of(homes[task], task)
    return homes[task]
