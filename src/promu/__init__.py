"""promu: entities and relations from posts that are part text, part image.

The names below are imported when they are first used, so that `import promu` costs nothing and `promu --help` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from promu.errors import InputError
    from promu.evaluation.scoring import ScoreReport, score
    from promu.extraction.evaluate_model import Evaluation, evaluate
    from promu.extraction.extraction_config import ExtractionConfig
    from promu.extraction.extractor import Extractor
    from promu.extraction.result import Extraction
    from promu.graph.build import build_graph
    from promu.graph.graph_store import query_graph
    from promu.kecpm.knowledge import generate_knowledge
    from promu.kecpm.train_kecpm import train_kecpm
    from promu.modeling.backbone import PromuModel
    from promu.modeling.classification import PromuForRelationClassification, PromuForTokenClassification
    from promu.modeling.configuration import PromuConfig
    from promu.modeling.joint_model import PromuForJointExtraction
    from promu.modeling.pretraining import PromuForPreTraining
    from promu.schema import CaptionPair, Entity, Post, Region, Relation
    from promu.study.run_study import run_study
    from promu.training.finetune import finetune
    from promu.training.pretrain import pretrain

    __version__: str

__all__ = [
    "Extractor",
    "Extraction",
    "ExtractionConfig",
    "evaluate",
    "Evaluation",
    "pretrain",
    "finetune",
    "score",
    "ScoreReport",
    "build_graph",
    "query_graph",
    "generate_knowledge",
    "train_kecpm",
    "run_study",
    "PromuConfig",
    "PromuModel",
    "PromuForPreTraining",
    "PromuForTokenClassification",
    "PromuForRelationClassification",
    "PromuForJointExtraction",
    "Post",
    "Entity",
    "Relation",
    "CaptionPair",
    "Region",
    "InputError",
    "__version__",
]

_HOMES = {
    "Extractor": "extraction.extractor",
    "Extraction": "extraction.result",
    "ExtractionConfig": "extraction.extraction_config",
    "evaluate": "extraction.evaluate_model",
    "Evaluation": "extraction.evaluate_model",
    "pretrain": "training.pretrain",
    "finetune": "training.finetune",
    "score": "evaluation.scoring",
    "ScoreReport": "evaluation.scoring",
    "build_graph": "graph.build",
    "query_graph": "graph.graph_store",
    "generate_knowledge": "kecpm.knowledge",
    "train_kecpm": "kecpm.train_kecpm",
    "run_study": "study.run_study",
    "PromuConfig": "modeling.configuration",
    "PromuModel": "modeling.backbone",
    "PromuForPreTraining": "modeling.pretraining",
    "PromuForTokenClassification": "modeling.classification",
    "PromuForRelationClassification": "modeling.classification",
    "PromuForJointExtraction": "modeling.joint_model",
    "Post": "schema",
    "Entity": "schema",
    "Relation": "schema",
    "CaptionPair": "schema",
    "Region": "schema",
    "InputError": "errors",
}
"""The module of each public name."""


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("promu")
    elif name in _HOMES:
        value = getattr(import_module(f"promu.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module 'promu' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
