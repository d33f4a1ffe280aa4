"""The doctor names what is there, and above all what is broken and how to mend it."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from promu.cli import doctor
from promu.cli.doctor import Finding


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


@pytest.mark.slow
def test_it_says_versions_device_and_precision() -> None:
    findings = by_name(doctor.diagnose())
    assert findings["torch"].value == importlib.metadata.version("torch")
    assert {
        "python",
        "promu",
        "transformers",
        "accelerate",
        "processor",
        "device",
        "precision",
        "threads",
        "speed",
    } <= set(findings)
    assert "pytest" not in findings  # extras are no requirement
    assert findings["precision"].value.split()[0] in {"bf16", "fp32"}
    assert not [finding for finding in findings.values() if finding.status == "broken"]


@pytest.mark.parametrize(
    "body",
    ["raise RuntimeError('operator torchvision::nms does not exist')", "import os\nos._exit(139)"],
    ids=["raises", "ends the interpreter"],
)
def test_a_broken_torchvision_is_named_with_its_remedy(
    body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    found = by_name(doctor.diagnose())["torchvision"]
    assert found.status == "broken"
    assert found.remedy == "pip uninstall torchvision"
    assert ("nms does not exist" in found.value) or ("139" in found.value)


def test_a_missing_and_an_old_library_are_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = importlib.metadata.version

    def version(name: str) -> str:
        if name == "tokenizers":
            raise importlib.metadata.PackageNotFoundError(name)
        return "4.40.0" if name == "transformers" else genuine(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    findings = by_name(doctor.diagnose())
    assert findings["tokenizers"].status == findings["transformers"].status == "broken"
    assert "4.40.0, but promu needs" in findings["transformers"].value
    assert findings["transformers"].remedy is not None and "transformers" in findings["transformers"].remedy
    assert "device" not in findings  # nothing is measured on broken ground


@pytest.mark.slow
def test_an_extra_that_is_not_whole_is_a_note_with_its_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "METADATA").write_text(
        "Name: promu\nVersion: 9.9\nProvides-Extra: dev\nProvides-Extra: graph\nProvides-Extra: old\n"
        "Provides-Extra: whole\nRequires-Dist: pillow>=1\nRequires-Dist: no-such-library; extra == 'graph'\n"
        "Requires-Dist: pyyaml>=1; extra == 'graph'\nRequires-Dist: pyyaml>=900; extra == 'old'\n"
        "Requires-Dist: numpy; extra == 'whole'\nRequires-Dist: pytest; extra == 'dev'\n"
    )
    genuine, promu = importlib.metadata.distribution, importlib.metadata.PathDistribution(tmp_path)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: promu if name == "promu" else genuine(name))
    findings = by_name(doctor.diagnose())
    assert findings["promu"].value == "9.9" and findings["pillow"].status == "ok"
    assert findings["promu[whole]"] == Finding("promu[whole]", f"numpy {importlib.metadata.version('numpy')}")
    graph = findings["promu[graph]"]
    assert graph.status == "note" and "no-such-library not installed" in graph.value
    assert graph.remedy == "pip install no-such-library 'pyyaml>=1', if you need it"
    assert findings["promu[old]"].status == "note" and "but promu needs >=900" in findings["promu[old]"].value
    assert not {"promu[dev]", "pytest", "numpy"} & set(findings)
    assert "device" in findings  # an extra that is missing keeps nothing from being measured
