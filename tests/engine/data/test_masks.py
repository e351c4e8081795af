"""Loss masks at the latents' resolution: shares, floors, and the masks that are none."""

from __future__ import annotations

import pytest
import torch

from train_embedding.engine.data.masks import mask_weights, pool_mask
from train_embedding.engine.training.losses import masked_means


def test_a_place_has_the_share_that_the_mask_shows() -> None:
    mask = torch.zeros(16, 24)
    mask[:8, 8:16] = 1.0
    mask[8:, 16:20] = 1.0
    assert pool_mask(mask, 2, 3).tolist() == [[0.0, 1.0, 0.0], [0.0, 0.0, 0.5]]


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 80), (88, 40)])
def test_a_mirrored_mask_is_the_mask_of_the_mirrored_picture(height: int, width: int) -> None:
    mask = torch.rand(height, width)
    mirrored = pool_mask(mask.flip(-1), height // 8, width // 8)
    assert torch.allclose(mirrored, pool_mask(mask, height // 8, width // 8).flip(-1))


@pytest.mark.parametrize("floor", [0.0, 0.1, 1.0])
def test_the_floor_is_the_weight_of_what_is_left_out(floor: float) -> None:
    weights = mask_weights(torch.tensor([[1.0, 0.0], [0.5, 1.0]]), floor)
    assert weights.flatten().tolist() == pytest.approx([1.0, floor, (1 + floor) / 2, 1.0])


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_opaque_and_transparent_masks_are_none(value: float, floor: float) -> None:
    assert mask_weights(torch.full((6, 10), value), floor) is None
    assert mask_weights(None, floor) is None


def test_the_smallest_mask_with_no_floor_is_a_number() -> None:
    mask = torch.zeros(8, 12)
    mask[3, 5] = 0.01
    weights = mask_weights(mask, 0.0)
    assert weights is not None
    errors = torch.rand(1, 4, 8, 12)
    assert masked_means(errors, weights[None]).item() == pytest.approx(errors[0, :, 3, 5].mean().item())
