"""promu: entities and relations from posts that are part text, part image.

The names below are imported when they are first used, so that `import promu` costs nothing and `promu --help` is quick.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from promu.errors import InputError
    from promu.evaluation.scoring import ScoreReport, score
    from promu.extraction.extractor import Extractor
    from promu.modeling.backbone import PromuModel
    from promu.modeling.classification import PromuForRelationClassification, PromuForTokenClassification
    from promu.modeling.configuration import PromuConfig
    from promu.modeling.pretraining import PromuForPreTraining
    from promu.schema import CaptionPair, Entity, Post, Region, Relation

    __version__: str

__all__ = [
    "score",
    "ScoreReport",
    "Extractor",
    "PromuConfig",
    "PromuModel",
    "PromuForPreTraining",
    "PromuForTokenClassification",
    "PromuForRelationClassification",
    "Post",
    "Entity",
    "Relation",
    "CaptionPair",
    "Region",
    "InputError",
    "__version__",
]

_HOMES = {
    "score": "promu.evaluation.scoring",
    "ScoreReport": "promu.evaluation.scoring",
    "Extractor": "promu.extraction.extractor",
    "PromuConfig": "promu.modeling.configuration",
    "PromuModel": "promu.modeling.backbone",
    "PromuForPreTraining": "promu.modeling.pretraining",
    "PromuForTokenClassification": "promu.modeling.classification",
    "PromuForRelationClassification": "promu.modeling.classification",
    "Post": "promu.schema",
    "Entity": "promu.schema",
    "Relation": "promu.schema",
    "CaptionPair": "promu.schema",
    "Region": "promu.schema",
    "InputError": "promu.errors",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use (PEP 562)."""
    if name == "__version__":
        value: Any = version("promu")
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'promu' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
