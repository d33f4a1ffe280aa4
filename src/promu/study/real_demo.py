"""A first model for real posts: the published sets are fetched, one model is trained, exported, and tried on posts."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from promu.config import load_recipe
from promu.corpora.download import Patience
from promu.corpora.fetch import fetch
from promu.errors import InputError, needs_extra
from promu.extraction.extractor import Extractor
from promu.extraction.onnx_export import export_models
from promu.extraction.result import Extraction
from promu.hub import resolve
from promu.runs import RunFolder
from promu.service.examples import write_examples
from promu.training.finetune import FinetuneResult, finetune
from promu.training.recipe import FinetuneRecipe, MultiTaskRecipe

SETS = ("twitter2015", "twitter2017", "mnre")
RECIPE = "real-posts"
POSTS = (
    ("Two leaders", "Angela Merkel met Emmanuel Macron in Berlin"),
    ("A match", "LeBron James scores 38 as the Lakers beat the Celtics in Boston tonight"),
    ("A concert", "What an evening ! Yo-Yo Ma at Carnegie Hall , New York #cello"),
    ("A tour", "Taylor Swift adds two more shows at Wembley Stadium in London , tickets on Friday"),
    ("A new job", "So proud of my sister , first day at NASA in Houston today !"),
    ("A shop", "Tim Cook opens the new Apple store in Milan"),
    ("Two sisters", "Serena Williams and Venus Williams back on court at Wimbledon"),
    ("A view", "Sunset over the Golden Gate Bridge , San Francisco never gets old"),
)
"""Posts to try such a model on, (title, text): invented ones, about people and places that everybody knows."""


@dataclass(frozen=True, slots=True)
class RealDemo:
    """What came of `run_real_demo`.

    Attributes:
        model: The exported model, in eight bits, with posts to try on its page.
        result: Of the fine-tuning run.
        extractions: What the exported model finds in `POSTS`.
    """

    model: Path
    result: FinetuneResult
    extractions: list[Extraction]

    def test_f1(self) -> dict[str, float]:
        """Test F1 by file."""
        found: dict[str, float] = {}
        for task in self.result["tasks"].values():
            files = task["test"].get("files") or {Path(task["data"]["test"]["file"]).name: task["test"]}
            found |= {name: float(figures["f1"]) for name, figures in files.items()}
        return found


def run_real_demo(
    out: Path = Path("runs/real"), seed: int = 0, overrides: Sequence[str] = (), patience: Patience | None = None
) -> RealDemo:
    """Fetch Twitter-2015, Twitter-2017 and MNRE, train one model for entities and relations, export it, and try it.

    `out` then has the run (`run/`) and the exported model (`model/`). A second call goes on where the first stopped.

    Args:
        out: Folder of all that is made.
        seed: Of the training.
        overrides: `key.path=value` settings that win over those of the recipe `real-posts`.
        patience: How long to wait for a mirror of the sets.

    Raises:
        InputError: A set is not complete and cannot be fetched: what is missing, and where it would have come from; the
            text encoder or a package is not installed; a setting is not legal.
    """
    recipe = load_recipe(RECIPE, FinetuneRecipe, [f"out={out / 'run'}", f"seed={seed}", *overrides])
    assert isinstance(recipe, MultiTaskRecipe)
    for package in ("onnx", "onnxruntime", "onnxscript"):  # said now, not after the training
        if find_spec(package) is None:
            raise needs_extra("a model in eight bits", package, "onnx")
    if isinstance(recipe.model.text, str):
        resolve(recipe.model.text)
    fetch_sets(patience)
    run, model = Path(recipe.out), out / "model"
    if RunFolder(run).result(recipe.model_dump(mode="json")) is None:
        shutil.rmtree(model, ignore_errors=True)  # of weights that are no more
    result = finetune(recipe)
    if not model.is_dir():
        write_examples(run / "model", [(title, text, None) for title, text in POSTS])
        export_models(run / "model", int8=True, output=model)
    extractor = Extractor.from_pretrained(model, backend="onnx")
    return RealDemo(model, result, list(extractor([text for _, text in POSTS])))


def fetch_sets(patience: Patience | None = None) -> None:
    """Fetch the sets of the recipe `real-posts` as far as they are not there.

    Raises:
        InputError: A file is still missing; it says which, why, and what to do with files got by hand.
    """
    missing = [(one, path, reason) for one in fetch(SETS, patience=patience) for path, reason in one.missing.items()]
    if missing:
        first, path, reason = missing[0]
        others = f" (and {len(missing) - 1} more files)" if len(missing) > 1 else ""
        raise InputError(
            f"{first.folder / path}{others} is missing: {reason}; get the sets where there is a net (promu fetch "
            f"{' '.join(SETS)}), or name a folder or an archive that has them (promu fetch {first.name} --from PLACE)"
        )


def described(extraction: Extraction) -> dict[str, Any]:
    """One post and what was found in it, in words."""
    return {
        "text": extraction.text,
        "entities": {one.text: one.type for one in extraction.entities},
        "triples": [" ".join(one) for one in extraction.triples()],
    }
