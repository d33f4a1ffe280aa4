"""promu: entities and relations from posts that are part text, part image.

The names below are imported when they are first used, so that `import promu` costs nothing and `promu --help` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from promu.cores import prepare_threads

if TYPE_CHECKING:
    from promu.config import copy_recipe, list_recipes
    from promu.corpora.convert import Conversion, convert
    from promu.corpora.fetch import Fetched, fetch
    from promu.corpora.formats import read_posts
    from promu.corpora.hub_datasets import from_dataset, to_dataset
    from promu.errors import InputError
    from promu.evaluation.entailment import evaluate_entailment
    from promu.evaluation.scoring import ScoreReport, score
    from promu.extraction.bundle import Bundle, bundle
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
    from promu.modeling.multi_task import PromuForMultiTask
    from promu.modeling.pretraining import PromuForPreTraining
    from promu.schema import CaptionPair, Entity, Post, Region, Relation
    from promu.study.rehearsal import rehearse
    from promu.study.run_study import run_study
    from promu.training.finetune import finetune
    from promu.training.pretrain import pretrain

    __version__: str

__all__ = ["Extractor", "Extraction", "ExtractionConfig", "evaluate", "Evaluation", "score", "ScoreReport"]
__all__ += ["pretrain", "finetune", "generate_knowledge", "train_kecpm", "build_graph", "query_graph", "run_study"]
__all__ += ["fetch", "Fetched", "read_posts", "rehearse"]
__all__ += ["list_recipes", "copy_recipe", "convert", "Conversion", "bundle", "Bundle", "to_dataset", "from_dataset"]
__all__ += ["evaluate_entailment"]
__all__ += ["PromuConfig", "PromuModel", "PromuForPreTraining", "PromuForTokenClassification"]
__all__ += ["PromuForRelationClassification", "PromuForJointExtraction", "PromuForMultiTask"]
__all__ += ["Post", "Entity", "Relation", "CaptionPair", "Region", "InputError", "__version__"]

_MODULES = {
    "config": ["copy_recipe", "list_recipes"],
    "corpora.convert": ["Conversion", "convert"],
    "corpora.fetch": ["Fetched", "fetch"],
    "corpora.formats": ["read_posts"],
    "corpora.hub_datasets": ["from_dataset", "to_dataset"],
    "errors": ["InputError"],
    "evaluation.entailment": ["evaluate_entailment"],
    "evaluation.scoring": ["ScoreReport", "score"],
    "extraction.bundle": ["Bundle", "bundle"],
    "extraction.evaluate_model": ["Evaluation", "evaluate"],
    "extraction.extraction_config": ["ExtractionConfig"],
    "extraction.extractor": ["Extractor"],
    "extraction.result": ["Extraction"],
    "graph.build": ["build_graph"],
    "graph.graph_store": ["query_graph"],
    "kecpm.knowledge": ["generate_knowledge"],
    "kecpm.train_kecpm": ["train_kecpm"],
    "modeling.backbone": ["PromuModel"],
    "modeling.classification": ["PromuForRelationClassification", "PromuForTokenClassification"],
    "modeling.configuration": ["PromuConfig"],
    "modeling.joint_model": ["PromuForJointExtraction"],
    "modeling.multi_task": ["PromuForMultiTask"],
    "modeling.pretraining": ["PromuForPreTraining"],
    "schema": ["CaptionPair", "Entity", "Post", "Region", "Relation"],
    "study.rehearsal": ["rehearse"],
    "study.run_study": ["run_study"],
    "training.finetune": ["finetune"],
    "training.pretrain": ["pretrain"],
}
prepare_threads()  # PyTorch, which a name below may import, reads the environment once

_HOMES = {name: module for module, names in _MODULES.items() for name in names}
"""The module of each public name."""


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("promu")
    elif name in _HOMES:
        try:
            value = getattr(import_module(f"promu.{_HOMES[name]}"), name)
        except ModuleNotFoundError as error:
            from promu.errors import lacking

            raise lacking(error, f"promu.{name}") or error from None
    else:
        raise AttributeError(f"module 'promu' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
