"""What an installed package adds by entry points: each kind is used, and what is wrong with one is said plainly."""

from __future__ import annotations

import importlib
import json
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.factories import TINY_TEXT, TINY_VISION, tiny_batch, tiny_config

import promu
from promu.alignment.corpus_settings import DetectorSettings
from promu.alignment.detectors import DETECTORS, build_detector
from promu.alignment.teacher import load_teacher
from promu.cli import main
from promu.cli.evaluate import evaluate
from promu.corpora.formats import FORMATS, find_format
from promu.errors import InputError
from promu.extensions import extensions
from promu.modeling.backbone import PromuModel
from promu.modeling.fusions import FUSIONS
from promu.tasks.task import TASKS

EXAMPLE = Path(__file__).parent / "plugin_example"
COMMANDS = set(evaluate)
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Makes packages that are found as installed ones are: by the `dist-info` in a folder on the path."""

    def install(name: str, groups: dict[str, dict[str, str]], code: Path | None = None) -> None:
        home = tmp_path / "site" / name
        info = home / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        sections = (f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in of.items()) for group, of in groups.items())
        (info / "entry_points.txt").write_text("\n".join(sections))
        for folder in filter(None, (home, code)):
            monkeypatch.syspath_prepend(str(folder))
        importlib.invalidate_caches()

    yield install
    for name in set(evaluate) - COMMANDS:
        del evaluate[name]
    for name in [name for name in sys.modules if name.partition(".")[0] == "promu_example"]:
        del sys.modules[name]


@pytest.fixture
def example(install: Install) -> None:
    """The example package, installed."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    install(project["name"], project["entry-points"], EXAMPLE)


def test_without_packages_there_is_nothing_but_promu_s_own() -> None:
    assert "mean" not in FUSIONS and set(FUSIONS) == set(FUSIONS.own)
    assert len(FORMATS) == len(FORMATS.own) and not extensions("promu.tasks")


@pytest.mark.usefixtures("example")
def test_every_kind_is_found_by_its_name() -> None:
    assert {"mean"} == set(FUSIONS) - set(FUSIONS.own) and {"centre"} == set(DETECTORS) - set(DETECTORS.own)
    assert find_format("slashed", "posts").name == "slashed" and TASKS["hashtags"].name == "hashtags"
    assert FUSIONS["concat"] is FUSIONS.own["concat"]
    with pytest.raises(InputError, match=r"fusion 'mane' is unknown; use one of adapcoatt, .*, mean, mega"):
        PromuModel(tiny_config(fusion="mane"))


@pytest.mark.usefixtures("example")
def test_a_fusion_is_a_fusion() -> None:
    model = PromuModel(tiny_config(fusion="mean", vision_hidden_size=24)).eval()
    batch, mask = tiny_batch(), torch.tensor([1, 0, 1])
    fused = model(**batch, image_mask=mask).fused_text
    alone = model(batch["input_ids"], batch["attention_mask"]).fused_text
    torch.testing.assert_close(fused[1], alone[1], rtol=1e-4, atol=1e-5)
    assert (fused[0] - alone[0]).abs().max() > 1e-3


@pytest.mark.usefixtures("example")
def test_a_teacher_and_a_detector_are_opened_by_name() -> None:
    teacher = load_teacher("hashed", "any", "cpu")
    vectors = teacher.encode_prompts(["a dog", "a cat"])
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
    (region,) = build_detector("centre", "", DetectorSettings()).detect([Image.new("RGB", (40, 20))], ["a"])[0]
    assert region.box == (10, 5, 30, 15)


@pytest.mark.slow
@pytest.mark.usefixtures("example")
def test_a_recipe_names_format_task_and_fusion(
    tmp_path: Path, tiny_models: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "posts.txt"
    data.write_text("Ann/PER loves #Rome\n#Oslo and Bob/PER\n", encoding="utf-8")
    assert main(["check", str(data), "--format", "slashed"]) == 0
    assert "entities: 2 (PER 2)" in capsys.readouterr().out
    recipe = {
        "task": "hashtags",
        "data": {"train": str(data), "dev": str(data), "test": str(data), "images": str(images)},
        "model": {
            "text": TINY_TEXT,
            "vision": TINY_VISION,
            "tokenizer": str(tiny_models / "ner"),
            "config": {"fusion": "mean"},
        },
        "training": {"epochs": 1, "precision": "fp32"},
        "out": str(tmp_path / "run"),
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")
    assert main(["finetune", str(tmp_path / "recipe.yaml")]) == 0
    result = promu.evaluate(tmp_path / "run" / "model", data, "hashtags")
    assert result.scores.micro.gold == 2 and result.task == "hashtags"
    assert (tmp_path / "run" / "predictions" / "posts.txt").is_file()
    capsys.readouterr()
    answers = tmp_path / "answers.txt"
    options = ["--data", str(data), "--predictions", str(answers)]
    assert main(["evaluate", "hashtags", str(tmp_path / "run" / "model"), *options]) == 0
    said = capsys.readouterr()
    assert "entities, 2 posts" in said.out and len(find_format("slashed").read(answers, None)) == 2
    assert main(["evaluate", "--help"]) == 0 and "hashtags" in capsys.readouterr().out
    promu.convert(data, tmp_path / "posts.jsonl", "slashed", "posts")
    assert find_format("posts").read(tmp_path / "posts.jsonl", None)[0].entities == (promu.Entity(0, 1, "PER"),)


def test_what_is_wrong_with_an_extension_is_said_when_its_name_is_asked_for(install: Install) -> None:
    lost = {"gone": "no_such_package:Thing", "text2": "json:missing", "odd": "json:dumps", "concat": "json:dumps"}
    install("promu-broken", {"promu.fusions": lost, "promu.formats": {"mine": "json:dumps"}})
    install("promu-other", {"promu.formats": {"mine": "json:loads"}})
    assert FUSIONS["hvpnet"] and "gone" in FUSIONS, "one that is broken stops only those who use it"
    where = "the package 'promu-broken' adds 'gone' to promu.fusions as no_such_package:Thing, which cannot be imported"
    with pytest.raises(InputError, match=rf"{where} \(ModuleNotFoundError: No module named 'no_such_package'\); mend"):
        FUSIONS["gone"]
    with pytest.raises(InputError, match=r"as json:missing, which cannot be imported \(AttributeError: "):
        FUSIONS["text2"]
    with pytest.raises(InputError, match=r"as json:dumps, which is function and not a subclass of Fusion; correct"):
        FUSIONS["odd"]
    with pytest.raises(InputError, match=r"adds 'concat' to promu.fusions, but promu itself has that name already"):
        FUSIONS["concat"]
    with pytest.raises(InputError, match=r"'promu-broken' adds 'mine' .* but the package 'promu-other' has that name"):
        find_format("mine")
