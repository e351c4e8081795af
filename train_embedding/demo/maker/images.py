"""The captioned training images of the demo checkpoint, drawn on all cores, as a tensor."""

# torch and numpy annotate these only partly:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import os
import random
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import torch

from train_embedding.demo import drawing
from train_embedding.demo.vocabulary import Vocabulary, random_captioned_scene


def draw_images(count: int, seed: int, vocabulary: Vocabulary) -> tuple[torch.Tensor, list[str]]:
    """Return images as uint8 [count, 3, 64, 64] and their captions. A seed gives the same images on any machine."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        seeds = range(seed * 1_000_003, seed * 1_000_003 + count)
        drawn = list(pool.map(partial(_draw_one, vocabulary=vocabulary), seeds, chunksize=100))
    pixels = np.stack([pixels for pixels, _ in drawn])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), [caption for _, caption in drawn]


def as_input(images: torch.Tensor) -> torch.Tensor:
    """Convert uint8 images to the input of the VAE: float, -1…1, channels last."""
    return (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def _draw_one(seed: int, vocabulary: Vocabulary) -> tuple[np.ndarray, str]:
    scene, caption = random_captioned_scene(random.Random(seed), vocabulary)
    return np.asarray(drawing.draw(scene)), caption
