"""A rehearsal of the paper's road: `promu reproduce table1 --recipe paper` at its true shapes, for a few steps each.

Encoders have random weights, the sets are made of what is at hand (`promu.study.stand_ins`), and nothing is fetched. It
shows that the road has no gap, what memory and disk it takes, how long a step is on this machine, and that a run which
is killed goes on. It gives no figure of quality: what is scored on the way is thrown away unread.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from promu.config import load_recipe
from promu.cores import usable_cores
from promu.errors import InputError
from promu.files import make_folder, write_json
from promu.hub import quiet
from promu.kecpm.kecpm_recipe import KecpmRecipe
from promu.pytorch import best_device, best_precision, processor
from promu.study.exhibit import Table
from promu.study.job import Job, with_inputs
from promu.study.job_factory import JobFactory
from promu.study.paper_exhibits import PRETRAININGS, PROMU
from promu.study.rehearsal_stages import WORD, InProcess, InProcesses, Resumed, Stage, size_of
from promu.study.run_study import plan
from promu.study.stand_ins import (
    SMALL,
    TRUE,
    Photograph,
    find_photographs,
    write_candidates,
    write_few_shot,
    write_models,
    write_posts,
    write_release,
)
from promu.study.study_recipe import StudyRecipe

NOTE = f"{WORD}: random weights, stand-in images, a few steps. Nothing here says how well anything works."
RESULT = "rehearsal.json"
ROOM = 20e9
"""Bytes of free disk that the true shapes want."""


@dataclass(frozen=True)
class Rehearsal:
    """What a rehearsal measured, as in its `rehearsal.json`.

    Attributes:
        small: Whether the shapes were tiny instead of the paper's.
        machine: Processor or accelerator, precision, cores, version of torch.
        stand_ins: What stood in for what.
        read: Pairs of the made NewsCLIPpings that were "kept", and those skipped, by reason.
        left: How many jobs of each kind the paper's table 1 has with three seeds.
    """

    small: bool
    machine: dict[str, Any]
    stand_ins: dict[str, str]
    stages: tuple[Stage, ...]
    resumed: Resumed
    read: dict[str, int]
    table1: Table
    left: dict[str, int]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; the first key says what it is."""
        return {WORD: NOTE, **asdict(self), "table1": self.table1.texts()}

    def tables(self) -> list[Table]:
        """What is printed."""
        shape = "tiny shapes" if self.small else "true shapes"
        columns: tuple[str, ...] = ("stage", "seconds", "of the processor", "steps", "seconds a step")
        columns += ("peak memory, GB", "on disk, GB")
        if any(stage.accelerator_bytes is not None for stage in self.stages):
            columns = (*columns, "peak of the accelerator, GB")
        rows = [
            (
                stage.name,
                f"{stage.seconds:.1f}",
                f"{stage.cpu_seconds:.1f}",
                None if stage.steps is None else str(stage.steps),
                None if stage.seconds_a_step is None else f"{stage.seconds_a_step:.3g}",
                gigabytes(stage.peak_bytes),
                gigabytes(stage.disk_bytes),
                gigabytes(stage.accelerator_bytes or 0),
            )[: len(columns)]
            for stage in self.stages
        ]
        return [Table("rehearsal", f"{WORD}, {shape}: what each stage takes here", columns, tuple(rows)), self.table1]


def gigabytes(size: int) -> str:
    """Bytes in GB."""
    return f"{size / 1e9:.2f}"


@dataclass(frozen=True)
class _Plan:
    """How far each stage goes."""

    images: int
    posts: int
    pretraining: tuple[str, ...]
    finetuning: tuple[str, ...]
    writing: tuple[str, ...]
    kill_in: int


_ALWAYS = ("workers=0", "log_every=1")
_TRUE = _Plan(
    48,
    16,
    (
        "data.corpus.dev=8",
        *(f"teacher.training.{one}" for one in ("steps=2", "batch_size=8", *_ALWAYS)),
        *(f"training.{one}" for one in ("steps=4", "batch_size=8", "micro_batch=4", *_ALWAYS)),
        *("training.save_every=2", "training.validate_every=4"),
    ),
    ("training.steps=2", "training.validate_every=2", "training.log_every=1"),
    ("training.steps=2", "training.batch_size=4", "training.validate_every=2", "training.log_every=1"),
    3,
)
_SMALL = _Plan(
    16,
    8,
    (
        *_TRUE.pretraining,
        *("data.corpus.dev=4", "labels.num_nouns=20", "labels.num_relations=5", "model.config.max_length=48"),
    ),
    _TRUE.finetuning,
    _TRUE.writing,
    _TRUE.kill_in,
)


def rehearse(
    out: str | Path = "runs/rehearsal",
    *,
    small: bool = False,
    tokenizer: str | Path | None = None,
    systems: Sequence[str] = (PROMU,),
) -> Rehearsal:
    """Walk the paper's road for a few steps a stage, and write what it takes to `out/rehearsal.json`, as stages end.

    The stages are the jobs of `promu reproduce table1 --recipe paper` for one seed: corpus, teacher, labels,
    pre-training (killed once, and resumed), fine-tuning of three tasks; also the labels of a CLIP-type teacher, and
    KECPM's writer. Each runs in a process of its own, so a script calls this under `if __name__ == "__main__":`.
    Models, sets and runs are removed at the end.

    Args:
        out: Folder, which a rehearsal may have used before.
        small: Tiny shapes in place of the paper's, in seconds; all in this process, in which pre-training is
            interrupted and not killed.
        tokenizer: Folder of bert-base-uncased's tokenizer; None makes one of the same size.
        systems: Systems of table 1 that are rehearsed, at least one of which is pre-trained.

    Raises:
        InputError: The folder holds something else, the disk is too full, no system is pre-trained, a stage cannot be
            done.

    Example:
        ```python
        import promu

        rehearsal = promu.rehearse("runs/small-rehearsal", small=True)
        print({stage.name: stage.seconds for stage in rehearsal.stages}, rehearsal.resumed)
        ```
    """
    if not set(systems) & set(PRETRAININGS):
        names = "; ".join(PRETRAININGS)
        raise InputError(
            f"a rehearsal kills a pre-training, and these systems have none; add one of {names} to systems="
        )
    started = time.perf_counter()
    quiet()
    out = Path(out).absolute()
    _claim(out, small)
    walk = _SMALL if small else _TRUE
    photographs, origin = find_photographs(walk.images, out / "drawn")
    data, models, stand_ins = out / "data", out / "models", {"photographs of VisualNews": origin}
    write_release(data, photographs)
    overrides = _prepare(data, models, photographs, walk, small, tokenizer, stand_ins)
    with _environment({"PROMU_DATA": str(data), "HF_HUB_OFFLINE": "1"}):
        published = load_recipe("paper", StudyRecipe)
        study = published.model_copy(
            update={
                "pretrain_set": (*overrides, *walk.pretraining),
                "finetune_set": walk.finetuning,
                "systems": tuple(systems),
            }
        )
        requests = plan(study, ["table1"], 1)
        clip = study.model_copy(update={"pretrain_set": (*study.pretrain_set, f"teacher={{name: {models / 'clip'}}}")})
        jobs = list(with_inputs(request.job for request in requests).values())
        jobs += [JobFactory.of(clip).labels(), _writer(models, walk)]
        left = Counter(job.kind for job in with_inputs(one.job for one in plan(published, ["table1"], 3)).values())
        named = [(job, _name(job, number == len(jobs) - 2)) for number, job in enumerate(jobs)]
        runner = (InProcess if small else InProcesses)(out, walk.kill_in, named)
        stages = [_folder("models", models), _folder("sets as published", data)]
        for stage in runner.run():
            stages.append(stage)
            measured = {"stages": [asdict(one) for one in stages], "seconds": None}
            write_json(out / RESULT, {WORD: NOTE, **measured})  # what is known if it ends here
    assert runner.resumed is not None
    tasks = list(dict.fromkeys(request.task for request in requests))
    rows = tuple((system, *(WORD for _ in tasks)) for system in systems)
    result = Rehearsal(
        small=small,
        machine=machine(),
        stand_ins=stand_ins,
        stages=tuple(stages),
        resumed=runner.resumed,
        read=runner.read,
        table1=Table("table1", f"{WORD} of table 1: its rows, without figures", ("system", *tasks), rows),
        left=dict(left),
        seconds=round(time.perf_counter() - started, 1),
    )
    write_json(out / RESULT, result.to_dict())
    for name in ("data", "models", "jobs", "drawn"):
        shutil.rmtree(out / name, ignore_errors=True)
    return result


def _claim(out: Path, small: bool) -> None:
    """Make the folder, or empty the one of an earlier rehearsal."""
    held = [path.name for path in out.iterdir()] if out.is_dir() else []
    if out.exists() and (not out.is_dir() or (held and RESULT not in held)):
        raise InputError("this holds something else than a rehearsal; choose another folder (out)", out)
    make_folder(out)
    for name in ("data", "models", "jobs", "drawn"):
        shutil.rmtree(out / name, ignore_errors=True)
    if not small and (free := shutil.disk_usage(out).free) < ROOM:
        reason = f"the true shapes want {gigabytes(int(ROOM))} GB of disk, and {gigabytes(free)} are free"
        raise InputError(f"{reason}; make room, or rehearse in small", out)
    write_json(out / RESULT, {WORD: NOTE, "stages": [], "seconds": None})


def _prepare(
    data: Path,
    models: Path,
    photographs: Sequence[Photograph],
    walk: _Plan,
    small: bool,
    tokenizer: str | Path | None,
    stand_ins: dict[str, str],
) -> list[str]:
    """Write models and sets; returns overrides of the pre-training recipe that name what has no published place."""
    texts = [one.caption for one in photographs]
    stand_ins["posts"] = write_posts(data, walk.posts, walk.posts // 4, photographs, data.parent / "drawn")
    stand_ins["images of the posts"] = "images of other things, never scored"
    write_few_shot(data, walk.posts, walk.posts // 4)
    candidates, stand_ins["nouns"], stand_ins["regions"] = write_candidates(data, photographs, small)
    named = None if tokenizer is None else Path(tokenizer)
    stand_ins["BERT's tokenizer"] = write_models(models, SMALL if small else TRUE, texts, named)
    stand_ins["weights"] = "random"
    folders = {"text": models / "bert", "vision": models / "vit"}
    encoders = [f"{owner}.{side}={folder}" for owner in ("teacher", "model") for side, folder in folders.items()]
    return [*candidates, *encoders, f"tokenizer={folders['text']}"]


def _writer(models: Path, walk: _Plan) -> Job:
    """KECPM's writer on few-shot set 17."""
    overrides = [f"model.name={models / 't5'}", "decoding.limit=128", *walk.writing]
    recipe = load_recipe("kecpm-seed17", KecpmRecipe, overrides)
    settings = recipe.model_dump(mode="json", exclude={"seeds", "out"})
    return Job("writer", "KECPM's writer", {**settings, "seed": recipe.seeds[0]})


def _name(job: Job, clip: bool) -> str:
    """What a stage is called."""
    name = job.label.removeprefix("seed 0 · ")
    return f"{name} of a CLIP-type teacher" if clip else name


def machine() -> dict[str, Any]:
    """What the figures are from."""
    device = best_device()
    name = torch.cuda.get_device_name() if device == "cuda" else processor()[0]
    return {"device": name, "precision": best_precision(device), "cores": usable_cores(), "torch": torch.__version__}


def _folder(name: str, folder: Path) -> Stage:
    """What was written without a job, by its size alone."""
    return Stage(name, 0.0, 0.0, None, None, 0, None, size_of(folder))


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """The process's environment with these variables, for as long as this lasts."""
    before: dict[str, str | None] = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
