"""`promu corpus build` and `promu corpus show`, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.alignment.corpus_sets import write_set

from promu.cli import main


def test_build_and_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(tmp_path, 12)
    (tmp_path / "images" / "3.png").unlink()
    build = ["corpus", "build", str(tmp_path / "captions.csv"), "--images", str(tmp_path / "images")]
    build += ["--out", str(tmp_path / "out"), "--missing-images", "skip", "--falsify", "uniform", "--dev", "4"]
    assert main(build) == 0
    said = capsys.readouterr()
    assert "out: 24 pairs read, 22 kept, 22 falsified ones made" in said.out
    assert "skipped: 2 missing image" in said.out
    assert "note: " in said.err and "captions.csv:8: image '3.png': no such image" in said.err

    assert main([*build, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["read"] == result["kept"] + sum(result["skipped"]["pairs"].values()) == 24
    assert set(result["parts"]) == {"train", "dev"}

    assert main(["corpus", "show", str(tmp_path / "out"), "--first", "1"]) == 0
    shown = capsys.readouterr().out
    assert "0.png, 24 x 16" in shown and "thing 0 of kind 0, 1" in shown and "  false thing" in shown
    assert main(["corpus", "show", str(tmp_path / "out" / "dev"), "--json"]) == 0
    header = json.loads(capsys.readouterr().out)[str(tmp_path / "out" / "dev")]
    assert header["settings"]["dev"] == 4 and len(header["first"]) == header["images"]
    assert {caption["matched"] for caption in header["first"][0]["captions"]} == {True, False}


def test_a_folder_of_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(tmp_path, 2)
    for number in range(2):
        (tmp_path / "images" / f"{number}.txt").write_text(f"caption {number}\n")
    assert main(["corpus", "build", str(tmp_path / "images"), "--out", str(tmp_path / "out")]) == 0
    assert "2 pairs read, 2 kept, 0 falsified" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["build", "{captions}", "--out", "{out}"], "--images is missing: name the folder of the images that"),
        (["build", "{captions}", "--out", "{out}", "--images", "{out}"], "no such folder of images; check the path"),
        (
            ["build", "{captions}", "--images", "{images}"],
            "parameter --out requires an argument; see promu corpus build --help",
        ),
        (
            ["build", "{captions}", "--out", "{out}", "--images", "{images}", "--detector", "yolo"],
            "detector 'yolo' needs a path",
        ),
        (
            ["build", "{captions}", "--out", "{out}", "--images", "{images}"],
            "captions.csv:2: image '0.png': the image has 0 bytes",
        ),
        (["show", "{images}"], "no corpus here (corpus.json is missing); make one with `promu corpus build`"),
        (["show", "{out}"], "no corpus here"),
    ],
)
def test_what_cannot_be_done_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    settings = write_set(tmp_path, 1)
    (settings.image_folder / "0.png").write_bytes(b"")
    names = {"captions": settings.captions, "images": settings.images, "out": tmp_path / "out"}
    assert main(["corpus", *(word.format(**names) for word in words)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ") and sentence in said.err and "Traceback" not in said.err
