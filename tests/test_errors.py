"""The sentence that a user reads, and what it quotes of other libraries' errors."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest

import promu
from promu.errors import InputError, counted, first_line, install_command, needs_extra

ROOT = Path(promu.__file__).parents[2]


def test_a_place_stands_before_the_reason() -> None:
    assert str(InputError("no such file", "a.txt")) == "a.txt: no such file"
    assert str(InputError("not JSON", "a.txt", 3)) == "a.txt:3: not JSON"
    assert str(InputError("not JSON")) == "not JSON"


@pytest.mark.parametrize(
    ("said", "quoted"),
    [
        ("It broke. \nHere is how it broke", "It broke"),
        ("\nIt broke", "It broke"),
        ("", "ValueError"),
        (" \n", "ValueError"),
    ],
)
def test_of_a_librarys_error_the_first_line_is_quoted(said: str, quoted: str) -> None:
    assert first_line(ValueError(said)) == quoted


@pytest.fixture
def installed_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make promu look as if it came from somewhere, as pip notes it in `direct_url.json`; None: pip noted nothing."""

    def pretend(noted: dict[str, Any] | None) -> None:
        folder = tmp_path / "promu.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: promu\nVersion: 9\nRequires-Dist: torch>=2\n"
            "Requires-Dist: fastapi>=0.120; extra == 'serve'\nRequires-Dist: uvicorn; extra == 'serve'\n"
        )
        if noted is not None:
            (folder / "direct_url.json").write_text(json.dumps(noted))
        monkeypatch.setattr(importlib.metadata, "distribution", lambda _: importlib.metadata.PathDistribution(folder))

    return pretend


def test_an_extra_comes_from_the_clone_that_promu_came_from(installed_from: Any, tmp_path: Path) -> None:
    clone = tmp_path / "my clone"
    clone.mkdir()
    installed_from({"url": clone.as_uri(), "dir_info": {"editable": True}})
    assert install_command("serve") == f"pip install -e '{clone}[serve]'"
    assert str(needs_extra("promu serve", "fastapi", "serve")) == (
        f"promu serve needs fastapi, which is not installed; pip install -e '{clone}[serve]'"
    )


def test_an_extra_comes_from_the_wheel_while_it_is_there(installed_from: Any, tmp_path: Path) -> None:
    wheel = tmp_path / "promu-9-py3-none-any.whl"
    wheel.write_bytes(b"")
    installed_from({"url": wheel.as_uri(), "archive_info": {}})
    assert install_command("serve") == f"pip install '{wheel}[serve]'"
    wheel.unlink()
    assert install_command("serve") == "pip install 'fastapi>=0.120' uvicorn"


def test_an_extra_comes_from_the_repository(installed_from: Any) -> None:
    installed_from({"url": "https://example.org/promu.git", "vcs_info": {"vcs": "git", "commit_id": "12ab"}})
    assert install_command("onnx") == "pip install 'promu[onnx] @ git+https://example.org/promu.git@12ab'"


def test_where_pip_noted_nothing_the_libraries_are_named(installed_from: Any) -> None:
    installed_from(None)
    assert install_command("serve") == "pip install 'fastapi>=0.120' uvicorn"


def test_from_its_source_alone_the_clone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    assert install_command("serve") == f"pip install -e '{ROOT}[serve]'"


def test_nothing_says_to_fetch_an_extra_from_an_index() -> None:
    """It would find nothing: promu is not published."""
    texts = [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "recipes").glob("*.yaml")]
    assert len(texts) > 100
    assert [
        path for path in texts if "install 'promu[" in path.read_text() or "install promu[" in path.read_text()
    ] == []


@pytest.mark.parametrize(
    ("number", "words", "said"),
    [
        (0, ["post"], "0 posts"),
        (1, ["post"], "1 post"),
        (12_345, ["post"], "12,345 posts"),
        (1, ["entity", "entities"], "1 entity"),
        (2, ["entity", "entities"], "2 entities"),
    ],
)
def test_one_is_counted_in_the_singular(number: int, words: list[str], said: str) -> None:
    assert counted(number, *words) == said
