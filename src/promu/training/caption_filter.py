"""BLIP's captioning and filtering: a model judges the captions of a corpus, and writes one more for each image.

A pre-trained model with L_ITM and L_LM is both the filter and the captioner (Li et al., 2022, section 3.3). A corpus is
made of what it holds for right; pre-training then starts anew on it (`data.filter` of a recipe, which calls this).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from promu.corpora.shards import HEADER, CaptionedImage, PairShards, ShardWriter, read_shard, shard_counts, shard_path
from promu.errors import InputError, counted
from promu.evaluation.pretrained import encode_images, evaluating, image_side, open_pair_model
from promu.files import write_json
from promu.modeling.inputs import tensors
from promu.modeling.pretraining import PromuForPreTraining
from promu.progress import mark_stored, report
from promu.pytorch import weights_checksum
from promu.runs import RunFolder

BATCH = 32
"""Images that are read at once."""
FILTER = "filter.json"
"""The file that says of a filtered corpus which one it is made of, and by which model."""
COUNTS = ("images", "images_dropped", "kept", "dropped", "made", "refused", "falsified")


@dataclass(frozen=True, slots=True)
class FilteredCaptions:
    """What came of a corpus.

    Attributes:
        out: Folder of the filtered corpus.
        images: Images that have a caption left; those without one, `images_dropped`, are left out.
        kept, dropped: Captions of their images that the model holds for theirs, and does not.
        made, refused: Captions that it wrote and added, and that it wrote in vain: held for wrong, or there already.
        falsified: Falsified pairs of the images that are left; they stay.
    """

    out: Path
    images: int
    images_dropped: int
    kept: int
    dropped: int
    made: int
    refused: int
    falsified: int

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**asdict(self), "out": str(self.out)}


def filter_captions(
    corpus: str | Path, model: str | Path, out: str | Path, *, threshold: float = 0.5, write: bool = True, seed: int = 0
) -> FilteredCaptions:
    """Make a corpus of the captions that a pre-trained model holds for those of their images.

    A shard is written whole or not at all, and a call that was stopped goes on with the next. A corpus that is there
    already is counted.

    Args:
        corpus: Folder of a corpus.
        model: Model folder of a pre-training with L_ITM and L_LM (`losses: blip`).
        out: Folder of the corpus to be made.
        threshold: Captions whose probability of belonging to the image is lower are left out.
        write: Whether the model also writes a caption for each image, by nucleus sampling, judged like the others.
        seed: Of what is drawn.

    Raises:
        InputError: Corpus or model cannot be used, the model lacks a head, nothing is left, or `out` is taken.

    Example:
        ```python
        from promu.training.caption_filter import filter_captions

        done = filter_captions("runs/corpus", "runs/newsreel-pretrain-blip/model", "runs/filtered")
        print(done.kept, done.dropped, done.made)
        ```
    """
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold is {threshold:g}; it is a probability, from 0 to 1")
    source, out = PairShards(corpus), Path(out)
    filter = _Filter(model, threshold, write, seed)
    folder = RunFolder(out, "filtered corpus", FILTER)
    folder.claim(
        {"corpus": source.header, "model": filter.identity, "threshold": threshold, "write": write, "seed": seed}
    )
    if not (out / HEADER).is_file():
        for leftover in out.glob("*.part"):
            leftover.unlink()
    shards = sorted(source.folder.glob("images-*.parquet"))
    sums: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
    for number, path in enumerate(shards):
        target = shard_path(out, number)
        if not target.exists():
            counts: Counter[str] = Counter()
            before = sums["images"] + sums["images_dropped"]
            with ShardWriter(out, number) as shard:
                for image in filter.images(path, number, counts):
                    shard.add(image)
                    report("filtering", before + counts["images"] + counts["images_dropped"], source.images)
                shard.counts = dict(counts)
            mark_stored()
        sums.update(shard_counts(target))
    if not sums["images"]:
        raise InputError(
            f"the model holds none of {counted(sums['dropped'], 'caption')} for its image's; name a better one, or "
            "lower the threshold",
            Path(model),
        )
    made = {name: sums[name] for name in ("kept", "dropped", "made", "refused")}
    matched = sums["kept"] + sums["made"]
    pairs = {"pairs": matched + sums["falsified"], "matched": matched, "falsified": sums["falsified"]}
    header = {**source.header, "images": sums["images"], **pairs, "filtered": {"by": filter.identity, **made}}
    write_json(out / HEADER, header)
    return FilteredCaptions(out, **sums)


class _Filter:
    """A model that judges captions and writes them."""

    def __init__(self, folder: str | Path, threshold: float, write: bool, seed: int) -> None:
        model, self.encoder = open_pair_model(folder)
        lacking = [
            name for name, head in (("L_ITM", "itm_head"), ("L_LM", "caption_decoder")) if not hasattr(model, head)
        ]
        if not write:
            lacking = [name for name in lacking if name == "L_ITM"]
        if lacking or not isinstance(model, PromuForPreTraining):
            raise InputError(
                f"this model was trained without {' and '.join(lacking)}, which the filter needs; pre-train one with "
                "losses: blip",
                Path(folder),
            )
        self.model, self.write, self.seed = model, write, seed
        self.least = torch.logit(torch.tensor(threshold, dtype=torch.float64)).item()
        self.identity = weights_checksum(model.state_dict())

    def images(self, path: Path, number: int, counts: Counter[str]) -> Iterator[CaptionedImage]:
        """The images of a shard that have a caption left, with those captions."""
        draw = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        images = read_shard(path)
        while batch := list(islice(images, BATCH)):
            yield from self._judge(batch, draw, counts)

    def _judge(
        self, images: Sequence[CaptionedImage], draw: torch.Generator, counts: Counter[str]
    ) -> Iterator[CaptionedImage]:
        size = image_side(self.model)
        visual = encode_images(self.model, [image.decode((size, size)) for image in images])
        written = self._written(visual, draw) if self.write else [""] * len(images)
        own = [[text for text, matched in image.captions if matched] for image in images]
        every = [
            [*texts, *([new] if new and new not in texts else [])] for texts, new in zip(own, written, strict=True)
        ]
        scores = iter(self._scores(visual, every))
        for image, texts, new, mine in zip(images, every, written, own, strict=True):
            right = [(text, next(scores) >= self.least) for text in texts]
            left = [text for text, one in right if one]
            kept = [text for text in left if text in mine]
            counts["kept"] += len(kept)
            counts["dropped"] += len(mine) - len(kept)
            counts["made"] += len(left) - len(kept)
            counts["refused"] += bool(new) - (len(left) - len(kept))
            if not left:
                counts["images_dropped"] += 1
                continue
            falsified = [caption for caption in image.captions if not caption[1]]
            counts["images"] += 1
            counts["falsified"] += len(falsified)
            yield replace(image, captions=(*((text, True) for text in left), *falsified))

    def _written(self, visual: torch.Tensor, draw: torch.Generator) -> list[str]:
        encoder = self.encoder
        with evaluating(self.model):
            ids = self.model.write_captions(visual, encoder.start, encoder.stop, draw)
        texts: list[str] = encoder.tokenizer.batch_decode(ids.tolist(), skip_special_tokens=True)
        return [text.strip() for text in texts]

    def _scores(self, visual: torch.Tensor, texts: Sequence[Sequence[str]]) -> list[float]:
        """The log odds of each text that it belongs to its image, image by image."""
        rows = [(row, text) for row, of_image in enumerate(texts) for text in of_image]
        scores: list[float] = []
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            batch = tensors(self.encoder.batch([self.encoder.caption(text) for _, text in part]), self.model.device)
            with evaluating(self.model):
                read = self.model.promu(**batch, visual=visual[[row for row, _ in part]])
                logits = self.model.match_logits(read, batch["attention_mask"]).float()
            scores += (logits[:, 1] - logits[:, 0]).tolist()
        return scores
