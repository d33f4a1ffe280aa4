"""Captions of images from files, from an image-to-text model, and from what a pre-trained promu model sees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tests.factories import TEXTS, TINY_TEXT, TINY_VISION, save_tiny_model

from promu.contexts.captioning import (
    captions_from_file,
    captions_of_images,
    context_and_captioner,
    describe,
    image_to_text,
    promu_captioner,
)
from promu.corpora.context_files import read_contexts
from promu.errors import InputError
from promu.schema import Post

POSTS = [Post("a", ("x",), "0.png"), Post("b", ("y",), None), Post("c", ("z",), "1.png"), Post("d", ("w",), "0.png")]


def test_captions_by_the_name_of_the_image(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    path.write_text("image,caption,matched\n0.png,a dog,1\n0.png,a cat,1\n0.png,a lie,0\n")
    assert captions_from_file(POSTS, path) == [("a dog", "a cat"), (), (), ("a dog", "a cat")]
    with pytest.raises(InputError, match="none of 1 post has its image among those captioned here"):
        captions_from_file(POSTS[2:3], path)


def test_each_image_is_captioned_once(images: Path) -> None:
    seen: list[int] = []

    def captioner(batch: list[Image.Image]) -> list[str]:
        seen.append(len(batch))
        return [f"{image.width} wide" for image in batch]

    captions = captions_of_images(POSTS, images, captioner)  # type: ignore[arg-type]
    assert captions == [("48 wide",), (), ("48 wide",), ("48 wide",)] and seen == [2]
    with pytest.raises(InputError, match=r"none.png: no such image"):
        captions_of_images([Post("e", ("v",), "none.png")], images, captioner)  # type: ignore[arg-type]


@pytest.fixture
def blip(tmp_path: Path) -> str:
    """An image-to-text model with random weights."""
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipImageProcessor

    from promu.training.tokenizers import train_wordpiece

    tokenizer = train_wordpiece(TEXTS, 400, min_frequency=1)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"bos_token_id": 1, "eos_token_id": 2, "sep_token_id": 2, "pad_token_id": 0}
    text = {**sizes, **ids, "vocab_size": len(tokenizer), "encoder_hidden_size": 16, "max_position_embeddings": 64}
    config = BlipConfig(text_config=text, vision_config={**sizes, "image_size": 32, "patch_size": 8})
    torch.manual_seed(0)
    BlipForConditionalGeneration(config).save_pretrained(tmp_path / "blip")
    BlipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "blip")
    tokenizer.save_pretrained(tmp_path / "blip")
    return str(tmp_path / "blip")


def test_an_image_to_text_model_by_name(images: Path, blip: str, tmp_path: Path) -> None:
    captions = captions_of_images(POSTS, images, image_to_text(blip))
    assert captions[1] == () and captions[0] == captions[3]
    assert captions[2][0] and captions_of_images([POSTS[2]], images, image_to_text(blip)) == [captions[2]]
    with pytest.raises(InputError, match=r"captioner '.*absent' cannot be loaded"):
        image_to_text(str(tmp_path / "absent"))


def test_what_a_pretrained_model_sees(images: Path, tmp_path: Path) -> None:
    from promu.corpora.images import load_image
    from promu.modeling.configuration import PromuConfig
    from promu.modeling.encoders import encoder_config
    from promu.modeling.inputs import WordEncoder, tensors, to_pixels
    from promu.modeling.label_prompts import ENTITY_TEMPLATES, RELATION_TEMPLATES, prompts
    from promu.modeling.loading import save_folder
    from promu.modeling.pretraining import PromuForPreTraining
    from promu.training.tokenizers import train_wordpiece

    nouns, relations = ["bridge", "dog", "ring", "ship"], ["awarded", "located in"]
    tokenizer = train_wordpiece([*TEXTS, *ENTITY_TEMPLATES.values()], 400, min_frequency=1)
    torch.manual_seed(7)
    model = PromuForPreTraining(
        PromuConfig(
            text_config=encoder_config(TINY_TEXT, vocab_size=len(tokenizer)),
            vision_config=encoder_config(TINY_VISION),
            max_length=32,
            nouns=nouns,
            relations=relations,
        )
    ).eval()
    save_folder(tmp_path / "model", model, tokenizer)
    captions = captions_of_images(POSTS, images, promu_captioner(tmp_path / "model", 2))
    encoder = WordEncoder(tokenizer, 32)
    for position, name in ((0, "0.png"), (2, "1.png")):
        with torch.inference_mode():
            seen = model.encode_images(torch.from_numpy(to_pixels(load_image(images / name), 32))[None])[0]
            order = []
            for names, template, templates in ((nouns, "1", ENTITY_TEMPLATES), (relations, "A", RELATION_TEMPLATES)):
                texts = prompts(names, template, templates)
                cosines = [
                    float(model.encode_text(**tensors(encoder.batch([encoder.text(text)])))[0] @ seen) for text in texts
                ]
                order.append(sorted(names, key=lambda word: -cosines[names.index(word)]))
        assert captions[position] == (f"in the image: {', '.join(order[0][:2])}; {order[1][0]}",)
    with pytest.raises(InputError, match="no pre-trained promu model here"):
        promu_captioner(tmp_path)


@pytest.mark.slow
def test_images_are_described_and_a_stopped_run_goes_on(
    images: Path, blip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from promu.cli import main
    from promu.contexts import captioning
    from promu.corpora.context_files import read_contexts

    names = sorted(path.name for path in images.iterdir())[:3]
    records = [{"id": str(number), "text": "Ann", "image": name} for number, name in enumerate([*names, names[0]])]
    (tmp_path / "posts.jsonl").write_text("".join(json.dumps(one) + "\n" for one in [*records, {"text": "none"}]))
    monkeypatch.setattr(captioning, "_BATCH", 1)
    out = tmp_path / "said.jsonl"
    words = ["contexts", "describe", str(tmp_path / "posts.jsonl"), "--captioner", blip, "--images", str(images)]
    assert main([*words, "--out", str(out)]) == 0
    assert f"{out}: 3 images described" in capsys.readouterr().out
    whole = read_contexts(out).texts
    assert list(whole) == [("image", name) for name in names] and all(whole.values())

    class Stop(Exception):
        pass

    def stopping(name: str) -> captioning.Captioner:
        caption = image_to_text(name)
        calls = iter(range(9))

        def one(batch: object) -> list[str]:
            if next(calls) == 2:
                raise Stop
            return caption(batch)  # type: ignore[arg-type]

        return one

    other = tmp_path / "other.jsonl"
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(captioning, "image_to_text", stopping)
        describe(tmp_path / "posts.jsonl", blip, images, other)
    assert not other.exists()
    [partial] = tmp_path.glob("other.jsonl.*.part")
    elsewhere = tmp_path / "elsewhere"  # other images of the same names: what was said of the first is not said of them
    elsewhere.mkdir()
    for number, name in enumerate(names):
        Image.new("RGB", (40, 40), (90 * number, 0, 200)).save(elsewhere / name)
    assert describe(tmp_path / "posts.jsonl", blip, elsewhere, other).described_before == 0
    with partial.open("a") as file:
        file.write('{"image": "2.p')  # a kill in the middle of a line
    assert describe(tmp_path / "posts.jsonl", blip, images, other).described_before == 2
    assert other.read_text() == out.read_text() and len(list(tmp_path.glob("*.part"))) == 0
    with pytest.raises(InputError, match="no such folder of images"):
        describe(tmp_path / "posts.jsonl", blip, tmp_path / "no", other)
    (tmp_path / "posts.jsonl").write_text('{"text": "none"}\n')
    with pytest.raises(InputError, match="no post names an image"):
        describe(tmp_path / "posts.jsonl", blip, images, other)


@pytest.mark.slow
def test_the_extractor_describes_a_new_image_itself(images: Path, blip: str, tmp_path: Path) -> None:
    from promu import Extractor

    folder = save_tiny_model(tmp_path / "model", "ner", images=False)
    config = json.loads((folder / "config.json").read_text())
    config |= {"contexts": ["said"], "max_length": 48, "context_budget": 32}
    (folder / "config.json").write_text(json.dumps(config))
    extractor = Extractor.from_pretrained(folder)
    image = next(iter(sorted(images.iterdir())))
    answer = extractor("Ann met Bob", image, captioner=blip, entity_threshold=0.0)
    assert answer.post.contexts["said"] == image_to_text(blip)([Image.open(image).convert("RGB")])[0]
    assert answer.to_dict()["contexts"] == answer.post.contexts
    own = extractor({"text": "Ann met Bob", "contexts": {"said": "a ring"}}, image, captioner=f"said={blip}")
    assert own.post.contexts == {"said": "a ring"}
    assert extractor("Ann met Bob", captioner=blip).post.contexts == {}
    with pytest.raises(InputError, match="no such image"):
        extractor("Ann met Bob", tmp_path / "none.png", captioner=blip)
    assert not extractor("Ann", tmp_path / "none.png", captioner=blip, missing_images="text-only").image_read


def test_which_context_a_captioner_makes() -> None:
    assert context_and_captioner("org/blip", ["said"]) == ("said", "org/blip")
    assert context_and_captioner("b=org/blip", ["a", "b"]) == ("b", "org/blip")
    for captioner, contexts, reason in (
        ("org/blip", [], "trained without contexts"),
        ("org/blip", ["a", "b"], "reads several contexts: a, b; write captioner as NAME=MODEL"),
        ("c=org/blip", ["a"], "reads no context 'c': a"),
    ):
        with pytest.raises(InputError, match=reason):
            context_and_captioner(captioner, contexts)


def test_a_detector_names_what_it_finds(images: Path, tmp_path: Path) -> None:
    posts = tmp_path / "posts.jsonl"
    posts.write_text("".join(f'{{"id": "{n}", "text": "Ann", "image": "{n}.png"}}\n' for n in range(2)))
    boxes: list[dict[str, Any]] = [
        {"id": n, "image_id": 0, "category_id": kind, "bbox": [n, 0, 9, 9]} for n, kind in enumerate((1, 2, 2))
    ]
    coco = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 48, "height": 48} for n in range(2)],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "person"}],
        "annotations": [{**box, "score": 0.9 - 0.1 * box["id"]} for box in boxes],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(coco))
    done = describe(posts, str(tmp_path / "boxes.json"), images, tmp_path / "objects.jsonl", detector="coco")
    assert done.images == 2
    assert (tmp_path / "objects.jsonl").read_text().splitlines()[0] == '{"image": "0.png", "text": "dog, person (2)"}'
    assert read_contexts(tmp_path / "objects.jsonl").empty == 1, "nothing is found in the other image"
    with pytest.raises(InputError, match="detector 'eye' is unknown"):
        describe(posts, "x", images, tmp_path / "no.jsonl", detector="eye")
