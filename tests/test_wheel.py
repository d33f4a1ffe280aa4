"""What a wheel holds: recipes that are listed and copied, and a template that trains on a few lines as it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from promu.cli import main
from promu.config import list_recipes

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the wheel puts into site-packages, as pyproject.toml says."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"][
        "wheel"
    ]
    folder = tmp_path_factory.mktemp("site-packages")
    for package in wheel["packages"]:
        shutil.copytree(ROOT / package, folder / Path(package).name, ignore=shutil.ignore_patterns("__pycache__"))
    for source, target in wheel["force-include"].items():
        shutil.copytree(ROOT / source, folder / target)
    return folder


def test_recipes_are_found_without_the_clone(site: Path, tmp_path: Path) -> None:
    def promu(*words: str) -> str:
        code = "import sys; from promu.cli import main; sys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(site)},
        )
        return done.stdout

    listed = json.loads(promu("recipes", "--json"))
    assert [one["name"] for one in listed] == [one.name for one in list_recipes()]
    assert all(Path(one["path"]).is_relative_to(site / "promu" / "recipes") for one in listed)
    assert "table1 --recipe paper" in promu("recipes", "show", "paper"), "one in a folder of its own"
    promu("recipes", "copy", "own-re", "my.yaml")
    assert (tmp_path / "my.yaml").read_bytes() == (ROOT / "recipes" / "own-re.yaml").read_bytes()


@pytest.mark.parametrize("task", ["ner", "re"])
def test_a_template_trains_on_two_lines_as_it_is(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["recipes", "copy", f"own-{task}", "my.yaml"]) == 0
    lines = []
    for person, company in (("Ann", "Acme"), ("Bob", "Acta")):
        text = f"{person} works for {company}"
        ends = [{"char_start": 0, "char_end": 3, "type": "PER"}, {"char_start": 14, "char_end": 18, "type": "ORG"}]
        lines.append({"text": text, "entities": ends, "relations": [{"head": 0, "tail": 1, "type": "works for"}]})
    for name in ("train.jsonl", "dev.jsonl"):
        Path(name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert main(["finetune", "my.yaml"]) == 0
    result = json.loads(Path(f"runs/own-{task}/result.json").read_text(encoding="utf-8"))
    assert result["dev"]["f1"] == 100, "two posts are learned by heart"
