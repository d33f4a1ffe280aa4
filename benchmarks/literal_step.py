"""The yardstick: the paper's pre-training step taken at its word.

Both teachers run inside every step, one over the crops of the regions (Eq 6), one over the whole images (Eq 9); their
prompt vectors, which depend on no sample, were made once, and their text sides are gone. Captions are padded to 80,
images are decoded and put through Hugging Face's Pillow image processor within the step, and everything is fp32.
Student, losses and attention kernels are promu's own: nothing here is slower than it has to be.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import torch
from benchmarks.sizes import PADDED, Size, captions, padded, photograph
from PIL import Image
from torch import nn
from torch.nn import functional
from transformers import ViTImageProcessorPil

from promu.modeling.losses import JointLoss
from promu.modeling.map_sources import bare_model

TEMPERATURE = 0.07
BOX = (0.2, 0.15, 0.75, 0.8)
"""Where the region of every image is, in 0..1."""


class Teacher(nn.Module):
    """A frozen vision encoder with its projection, and the unit vectors of the prompts."""

    prompts: torch.Tensor

    def __init__(self, size: Size, prompts: int) -> None:
        super().__init__()
        self.encoder = bare_model(size.vision)
        self.projection = nn.Linear(size.vision.hidden_size, 256, bias=False)
        self.register_buffer("prompts", functional.normalize(torch.randn(prompts, 256), dim=-1))
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Soft pseudo-labels (B, M) of images (B, 3, S, S)."""
        visual = self.projection(self.encoder(pixel_values=pixel_values).last_hidden_state[:, 0])
        return torch.softmax(functional.normalize(visual, dim=-1) @ self.prompts.T / TEMPERATURE, dim=-1)


def literal_step(size: Size) -> Callable[[], float]:
    """The step, ready to be called; it returns the loss."""
    # the processor normalises: the student takes its pixels as they are
    student = size.student(image_mean=[0.0] * 3, image_std=[1 / 255] * 3)
    of_regions, of_images = Teacher(size, size.nouns), Teacher(size, size.relations)
    side = int(size.vision.image_size)  # type: ignore[arg-type]
    process = ViTImageProcessorPil(size={"height": side, "width": side})
    joint = JointLoss.of(student)
    optimiser = torch.optim.AdamW(student.parameters(), lr=1e-4, weight_decay=1e-3)
    files = [photograph(number, 224) for number in range(size.batch)]
    texts = captions(size.batch, 0, size.text.vocab_size)
    ids = torch.arange(size.batch)
    boxes = torch.tensor(BOX).expand(size.batch, 1, 4)

    def step() -> float:
        images = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
        crops = [
            image.crop((BOX[0] * image.width, BOX[1] * image.height, BOX[2] * image.width, BOX[3] * image.height))
            for image in images
        ]
        pixels = process(images=images, return_tensors="pt")["pixel_values"]
        batch = {
            **padded(texts, PADDED),
            "pixel_values": pixels,
            "matched": ids % 2,
            "image_ids": ids,
            "caption_ids": ids,
            "boxes": boxes,
            "box_mask": torch.ones(size.batch, 1, dtype=torch.long),
            "entity_labels": of_regions(process(images=crops, return_tensors="pt")["pixel_values"])[:, None],
            "relation_labels": of_images(pixels),
        }
        loss, _ = joint.of_batch(student, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    return step
