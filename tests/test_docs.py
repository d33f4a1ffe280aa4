"""Every command and every line of Python in README and docs works, on a small world drawn on the spot."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import shutil
import textwrap
import tomllib
from pathlib import Path

import pytest

import promu
from promu.cli import app, main
from promu.config import find_recipe, load_recipe
from promu.newsreel import NewsreelSettings, write_newsreel
from promu.training.recipe import FinetuneRecipe, PretrainRecipe

pytestmark = pytest.mark.slow


ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SMALL = NewsreelSettings(seed=0, pairs=64, ner_posts=(24, 8, 8), re_posts=(150, 16, 16))

QUICK = {
    "pretrain": ["--set", "training.epochs=1", "--set", "teacher.training.epochs=1"],
    "label": ["--set", "training.epochs=1", "--set", "teacher.training.epochs=1"],
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
        shutil.copytree("runs/newsreel/re/images", "runs/demo/corpus/re/images")
        shutil.copy("runs/newsreel/re/mnre_test.txt", "runs/demo/corpus/re/mnre_test.txt")
        images = sorted(Path("runs/newsreel/re/images").iterdir())
        shutil.copy(images[0], "photo.png")
        shutil.copy(images[0], "runs/demo/corpus/re/images/re_test_00077.jpg")  # of the demo's larger corpus
        Path("images").mkdir()
        shutil.copy(images[0], "images/photo.png")
        Path("posts.jsonl").write_text(
            '{"id": "1", "text": "Zorva and Kelmo tonight", "image": "photo.png"}\n', encoding="utf-8"
        )
        found = [
            {"start": place, "end": place + 1, "text": name, "type": "PER", "score": 0.9}
            | {"char_start": 6 * place, "char_end": 6 * place + 5}
            for place, name in enumerate(("Zorva", "Kelmo"))
        ]
        told = [{"head": 0, "tail": 1, "type": "/per/per/couple", "score": 0.8}]
        post = {"id": "1", "tokens": ["Zorva", "Kelmo"], "entities": found, "relations": told}
        Path("out.jsonl").write_text(json.dumps(post) + "\n", encoding="utf-8")
        own = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
        line = re.search(r"^```json\n(.*?)^```", own, flags=re.MULTILINE | re.DOTALL)
        assert line is not None
        for name in ("train.jsonl", "dev.jsonl"):  # the line that the page shows
            Path(name).write_text(line[1], encoding="utf-8")
        shutil.copy("mytweets/valid.txt", "train.txt")
        described = {
            image.name for folder in ("ner", "re") for image in Path("runs/newsreel", folder, "images").iterdir()
        }
        described |= {"photo.png"}
        lines = [json.dumps({"image": name, "text": "two people on a stage"}) for name in sorted(described)]
        Path("corpus.txt").write_text("Zorva sings two songs.\nKelmo is a town with people.\n", encoding="utf-8")
        Path("described.jsonl").write_text("\n".join(lines), encoding="utf-8")
        given = [
            *QUICK["finetune"],
            "--set",
            "data.contexts={described: described.jsonl}",
            "--set",
            "out=runs/described",
        ]
        assert main(["finetune", "newsreel-ner-text", *given, "--set", "model.config.context_budget=16"]) == 0
    return home


def run(words: list[str]) -> int:
    """Run one `promu` command line, made small."""
    command = words[0]
    if command in ("demo", "reproduce", "rehearse"):
        # run for real, small, in tests/cli/test_demo.py and test_reproduce.py, tests/study/test_rehearsal.py
        app.parse_args(words, exit_on_error=False, print_error=False)
        return 0
    if command == "serve":  # run for real in tests/service/test_running.py: it does not end by itself
        app.parse_args(words, exit_on_error=False, print_error=False)
        return 0
    if command == "finetune" and words[1].endswith("-text"):  # run for a step in tests/training/test_recipes_run.py
        load_recipe(words[1], FinetuneRecipe)
        return 0
    if words[:2] == ["fewshot", "draw"]:
        words = [*words, "--posts", "6", "2", "2", "--size", "32"]
    elsewhere = ["$PROMU_DATA", "flickr8k", "en_core_web_sm", "kecpm", "runs/demo/onnx", "runs/real", "runs/paper"]
    elsewhere += ["runs/open-labels", "paper-pretrain", "--captioner", "expert", "runs/blip"]
    if any(sign in word for word in words for sign in elsewhere):
        # the recipe is run for a step in tests/training/test_recipes_run.py, the others where their data is
        # (KECPM's in tests/training/generation/test_train.py), graphs in tests/extraction/test_export.py
        app.parse_args(words, exit_on_error=False, print_error=False)
        if command in ("pretrain", "label"):
            load_recipe(words[1], PretrainRecipe, [word for word in words if "=" in word])
        if command == "finetune":
            load_recipe(words[1], FinetuneRecipe, [word for word in words if "=" in word])
        return 0
    if (
        command == "fetch" and "--list" not in words
    ):  # run for real against a server here in tests/corpora/test_fetch.py
        app.parse_args(words, exit_on_error=False, print_error=False)
        return 0
    if command == "newsreel":
        size = ["--pairs", "32", "--ner-posts", "4", "4", "4", "--re-posts", "4", "4", "4"]
        return main(["newsreel", "runs/another", *size])
    words = [word.replace("epochs=10", "epochs=1") for word in words]
    return main([*words, *([] if "training.epochs=1" in words else QUICK.get(command, []))])


def test_every_documented_command_works(sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sandbox)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in dict.fromkeys(command for page in PAGES for command in commands(page)):
        program, *words = shlex.split(command)
        if program == "make":
            assert all(f"\n{word}:" in makefile for word in words if "=" not in word), command
        elif program == "torchrun":  # run for real in tests/training/test_group.py
            recipe, *overrides = words[words.index("pretrain") + 1 :]
            load_recipe(recipe, PretrainRecipe, [word for word in overrides if "=" in word])
        elif program == "pip":
            extras = re.fullmatch(r"install (?:-e '\.|'promu)\[([\w,]+)\]'", command.removeprefix("pip "))
            project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
            weights = find_recipe("mnre-text").read_text(encoding="utf-8")
            known = extras is not None and project["optional-dependencies"].keys() >= set(extras[1].split(","))
            assert known or command in weights, command
        elif program in ("cp", "python"):
            assert (ROOT / words[0]).is_file(), command
        else:
            assert program == "promu", command
            assert run(words) == 0, command


@pytest.mark.parametrize(
    "page", ["README.md", "docs/extraction.md", "docs/own-data.md", "docs/contexts.md", "docs/grounding.md"]
)
def test_the_python_of_a_page_runs(page: str, sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sandbox)
    found = blocks(ROOT / page, "python")
    names: dict[str, object] = {}
    assert found
    for block in found:  # one after the other, as they are read
        exec(compile(block, page, "exec"), names)


RUN_ELSEWHERE = ("rehearse",)  # tests/study/test_rehearsal.py looks at what comes of it


@pytest.mark.parametrize("name", [name for name in promu.__all__ if name[0] != "_" and name not in RUN_ELSEWHERE])
def test_the_example_of_every_public_name_runs(name: str, sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sandbox)
    text = inspect.getdoc(getattr(promu, name)) or ""
    found = re.findall(r"^( *)```python\n(.*?)^\1```", text, flags=re.MULTILINE | re.DOTALL)
    assert found, f"the docstring of promu.{name} has no example"
    for _, block in found:
        exec(compile(textwrap.dedent(block), f"promu.{name}", "exec"), {})


@pytest.mark.parametrize("notebook", [path.name for path in (ROOT / "docs").glob("*.ipynb")])
def test_a_notebook_runs_from_top_to_bottom(notebook: str, sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sandbox)
    cells = json.loads((ROOT / "docs" / notebook).read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code and all(cell["execution_count"] for cell in code), "it is kept with its outputs"
    names: dict[str, object] = {}
    for cell in code:
        source = "".join(cell["source"])
        for image in re.findall(r"re_test_\d+\.jpg", source):  # of the demo's posts, of which few are drawn here
            shutil.copy("photo.png", Path("runs/demo/corpus/re/images", image))
        exec(compile(source, notebook, "exec"), names)


def test_every_page_that_is_linked_to_exists() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_what_the_pages_say_of_the_code_is_there() -> None:
    """Modules named in backticks exist, and the names of the architecture's table stand in them."""
    package = ROOT / "src" / "promu"
    for page in PAGES:
        for path in re.findall(r"`((?:\w+/)+\w+\.py)`", page.read_text(encoding="utf-8")):
            foreign = path == "example/train.py"  # of MEGA's release
            assert foreign or any((folder / path).is_file() for folder in (ROOT, package)), f"{page.name} names {path}"
    table = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .* \| `([\w/]+\.py)` \| (.*) \|$", table, flags=re.MULTILINE)
    assert len(rows) >= 14
    for path, names in rows:
        code = (package / path).read_text(encoding="utf-8")
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"^(?:class |def )?{name}\b", code, flags=re.MULTILINE), f"{path} has no {name}"
