"""The gate between two experts, fitted on dev: its weight, how far it follows the surer, temperature and threshold."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from promu.corpora.context_files import ContextPlace, add_contexts
from promu.errors import InputError
from promu.evaluation.leaks import refuse_leaks
from promu.files import atomic, write_json
from promu.progress import report
from promu.schema import MissingPostImage, Scheme
from promu.tasks.gate import EXPERTS, GATE, GatedPredictor
from promu.tasks.model_folder import find_models, open_predictor
from promu.tasks.post_images import ImageFolder
from promu.tasks.predictor import Predictions
from promu.training.task_run import calibrate, fit_threshold

WEIGHTS = tuple(number / 20 for number in range(21))
"""The weights that are tried."""
TRUSTS = (0.0, 5.0, 10.0, 20.0, 40.0)
"""How far a gate of single posts goes to the surer expert: values that are tried. 0 is a gate of one weight."""


@dataclass(frozen=True, slots=True)
class FittedGate:
    """A gate and what it reached on dev.

    Attributes:
        task: Of both experts.
        weight: The share of the first expert.
        trust: How far the share of a post goes to the surer expert (`GatedPredictor`); 0 for a gate of one weight.
        f1: On dev, with both; `first` and `second` are those of the experts alone.
        curve: F1 on dev by weight, one for all posts.
        out: The folder of the gate, which is evaluated and extracts like a model.
    """

    task: str
    weight: float
    trust: float
    f1: float
    first: float
    second: float
    out: Path
    curve: Mapping[float, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**asdict(self), "out": str(self.out), "curve": [list(point) for point in self.curve.items()]}


def fit_gate(
    first: str | Path,
    second: str | Path,
    dev: str | Path,
    out: str | Path,
    *,
    contexts: Mapping[str, ContextPlace] | None = None,
    format: str | None = None,
    scheme: Scheme = "auto",
    images: str | Path | None = None,
    missing_images: MissingPostImage = "raise",
    batch_size: int = 64,
    per_post: bool = False,
) -> FittedGate:
    """Mix two models of one task by the weight that is best on dev, of equally good ones the most even.

    With `per_post` it is a mixture of experts, as in MoRe (Wang et al., 2022): each post has a weight of its own. MoRe
    learns it from the text's vectors. Here it follows how sure the experts are, so that two numbers are fitted; of
    equally good gates the one that follows them least is taken.

    Args:
        first, second: Model folders, such as one trained with retrieved passages and one with descriptions.
        dev: Labelled posts that neither was trained on.
        out: A folder to be made, with copies of both models.
        contexts: File of texts by name, for all contexts that either reads.
        format, scheme, images, missing_images, batch_size: As in `promu.evaluate`.
        per_post: Whether the weight also follows which expert is surer of a post.

    Raises:
        InputError: A model or file cannot be used, the models do not go together, a context says labels of the gold, or
            `out` is taken.
    """
    homes = [find_models(model) for model in (first, second)]
    if several := next((str(model) for model, home in zip((first, second), homes, strict=True) if len(home) > 1), None):
        raise InputError("holds models of several tasks; name the folder of one", several)
    experts = [open_predictor(*home[0]) for home in homes]
    gate = GatedPredictor(experts[0], experts[1])
    task = gate.task
    posts = task.read(Path(dev), format, scheme)
    if contexts:
        if unknown := sorted(set(contexts) - set(gate.encoder.contexts)):
            raise InputError(f"neither expert reads the context {unknown[0]!r}; leave its file out")
        posts = add_contexts({"dev": posts}, contexts)[0]["dev"]
    refuse_leaks(posts, str(dev), "leave the file out")
    folder = None if images is None else Path(images)
    reader = ImageFolder(folder, gate.config.image_size, "none" if folder is None else missing_images)
    with atomic(out, folder=True) as building:  # from the first, so that a place that is taken is said at once
        pairs = []
        for start in range(0, len(posts), batch_size):
            rows = range(start, min(start + batch_size, len(posts)))
            chosen = [posts[row] for row in rows]
            given = reader.batch([post.image for post in chosen])
            pairs.append([expert.predict_batch(chosen, given, rows=rows) for expert in experts])
            report("reading", rows[-1] + 1, len(posts))

        def predictions(trust: float, weight: float) -> list[Predictions]:
            gate.weight, gate.trust = weight, trust
            return [gate.mixed(*pair) for pair in pairs]

        tried = product(TRUSTS if per_post else TRUSTS[:1], WEIGHTS)
        f1 = {one: float(task.score(posts, gate.answers(predictions(*one))).to_dict()["f1"]) for one in tried}
        best = max(f1, key=lambda one: (f1[one], -one[0], -abs(one[1] - 0.5)))
        mixed = predictions(*best)
        calibrate(gate, {"dev": mixed})
        fit_threshold(gate, {"dev": posts}, {"dev": gate.answers(mixed)})
        for name, home in zip(EXPERTS, homes, strict=True):
            shutil.copytree(home[0][1], building / name)
        write_json(building / GATE, {**gate.facts(), "dev": {"f1": f1[best]}})
    curve = {weight: f1[0.0, weight] for weight in WEIGHTS}
    return FittedGate(task.name, gate.weight, gate.trust, f1[best], curve[1.0], curve[0.0], Path(out), curve)
