"""Retrieved passages: by words, by meaning, by image, never the post's own text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tests.factories import TEXTS, TINY_TEXT, TINY_VISION

from promu import Post
from promu.cli import main
from promu.contexts.passage_retrieval import read_corpus, retrieve
from promu.corpora.context_files import add_contexts, read_contexts
from promu.errors import InputError

PASSAGES = [
    "The Bulls are a basketball team from Chicago.",
    "Kelmo is a mountain. Its top is white.",
    "Rome is the capital of Italy.",
    "Bulls won",
    "Rome is the capital of  Italy.",
]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Posts, a corpus, and where to write."""
    posts = [
        {"id": "1", "text": "Bulls won !", "image": "0.png"},
        {"id": "2", "text": "Kelmo", "image": "1.png"},
        {"id": "3", "text": "zzz"},
    ]
    (tmp_path / "posts.jsonl").write_text("".join(json.dumps(post) + "\n" for post in posts))
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps({"text": one, "more": 1}) + "\n" for one in PASSAGES))
    return tmp_path / "posts.jsonl", tmp_path / "corpus.jsonl", tmp_path / "out.jsonl"


def found(out: Path) -> dict[str, str]:
    return {key[1]: text for key, text in read_contexts(out).texts.items()}


def test_by_words(files: tuple[Path, Path, Path]) -> None:
    done = retrieve(*files, top=1)
    assert found(files[2]) == {"1": PASSAGES[3], "2": PASSAGES[1]}
    assert (done.posts, done.with_passages, done.passages, done.own_texts) == (3, 2, 4, 0)
    posts = [Post("2", ("Kelmo",))]
    assert add_contexts({"a": posts}, {"retrieved": files[2]})[0]["a"][0].contexts == {"retrieved": PASSAGES[1]}


def test_the_own_text_is_left_out(files: tuple[Path, Path, Path]) -> None:
    corpus = files[1].with_name("corpus.txt")
    corpus.write_text("\n".join(["Bulls  won!", *PASSAGES]))
    assert read_corpus(corpus)[0] == "Bulls won!"
    assert retrieve(files[0], corpus, files[2], top=1).own_texts == 1
    assert found(files[2])["1"] == PASSAGES[3]


def test_descriptions_may_be_looked_up_in_place_of_texts(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    said = tmp_path / "said.jsonl"
    said.write_text('{"image": "0.png", "text": "a view of Italy"}\n')
    retrieve(*files, descriptions=said, top=2)
    assert found(files[2]) == {"1": PASSAGES[2]}
    said.write_text('{"image": "9.png", "text": "a view of Italy"}\n')
    with pytest.raises(InputError, match=r"no text here is about any of 3 posts"):
        retrieve(*files, descriptions=said)


def test_by_meaning(files: tuple[Path, Path, Path], tiny_models: Path) -> None:
    done = retrieve(*files, by="embeddings", encoder=str(text_encoder(tiny_models, files[0].parent)), top=2)
    assert done.with_passages == 3 and all(len(text.split("\n")) == 2 for text in found(files[2]).values())


def text_encoder(tiny_models: Path, folder: Path) -> Path:
    from transformers import AutoModel, AutoTokenizer

    from promu.modeling.encoders import encoder_config

    tokenizer = AutoTokenizer.from_pretrained(tiny_models / "ner")
    AutoModel.from_config(encoder_config(TINY_TEXT, vocab_size=len(tokenizer))).save_pretrained(folder / "encoder")
    tokenizer.save_pretrained(folder / "encoder")
    return folder / "encoder"


def test_by_image(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    from promu import PromuConfig, PromuForPreTraining
    from promu.modeling.encoders import encoder_config
    from promu.modeling.loading import save_folder
    from promu.training.tokenizers import train_wordpiece

    tokenizer = train_wordpiece([*TEXTS, *PASSAGES], 400, min_frequency=1)
    torch.manual_seed(0)
    model = PromuForPreTraining(
        PromuConfig(
            text_config=encoder_config(TINY_TEXT, vocab_size=len(tokenizer)),
            vision_config=encoder_config(TINY_VISION),
            loss_weights={"itm": 0.0, "cit": 1.0, "coe": 0.0, "cir": 0.0, "mlm": 0.0},
        )
    )
    save_folder(tmp_path / "pretrained", model, tokenizer)
    (tmp_path / "images").mkdir()
    for number, colour in enumerate(("red", "blue")):
        Image.new("RGB", (40, 40), colour).save(tmp_path / "images" / f"{number}.png")
    given: dict[str, Any] = {"model": tmp_path / "pretrained", "images": tmp_path / "images"}
    done = retrieve(*files, by="image", top=1, **given)
    assert done.with_passages == 2 and set(found(files[2])) == {"1", "2"}
    (tmp_path / "images" / "1.png").unlink()
    with pytest.raises(InputError, match=r"1.png: no such image"):
        retrieve(*files, by="image", **given)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--by", "embeddings"], "retrieval by embeddings needs encoder; name it (--encoder)"),
        (["--by", "image"], "retrieval by image needs model and images; name it (--model)"),
        (["--encoder", "x"], "retrieval by bm25 takes no encoder"),
        (["--top", "0"], "top is 0; at least 1 passage is needed"),
        (["--corpus", "EMPTY"], "is empty"),
        (["--corpus", "OTHER"], "no passage has to do with any of 3 posts"),
        (["--out", "POSTS"], "this is what is read from"),
    ],
)
def test_what_cannot_be_done_is_said(
    options: list[str], reason: str, files: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "other.txt").write_text("qqq www\n")
    places = {"EMPTY": str(tmp_path / "empty.txt"), "OTHER": str(tmp_path / "other.txt"), "POSTS": str(files[0])}
    words = {"--corpus": str(files[1]), "--out": str(files[2])}
    words |= {name: places.get(value, value) for name, value in [(options[0], options[1])]}
    assert main(["contexts", "retrieve", str(files[0]), *(word for pair in words.items() for word in pair)]) == 2
    assert reason in capsys.readouterr().err and not files[2].exists()


def test_the_command_says_what_it_found(files: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["contexts", "retrieve", str(files[0]), "--corpus", str(files[1]), "--out", str(files[2])]
    assert main(words) == 0
    assert f"{files[2]}: passages for 2 of 3 posts, out of 4 passages" in capsys.readouterr().out
    assert main([*words, "--json"]) == 0 and json.loads(capsys.readouterr().out)["with_passages"] == 2
