"""What the UNet is told of prompts and sizes."""

from __future__ import annotations

import torch

from train_embedding.engine.model.conditioning import Conditioning, make_time_ids


def test_sizes_in_sdxls_order() -> None:
    ids = make_time_ids(1024, 768, (8, 16), 2, torch.device("cpu"))
    assert ids.tolist() == [[1024, 768, 8, 16, 1024, 768]] * 2
    assert ids.dtype == torch.float32


def test_batches_are_joined_and_changed_alike() -> None:
    one, other = (Conditioning(torch.full((1, 2, 3), value), torch.full((1, 4), value)) for value in (1.0, 2.0))
    both = (one + other).map(lambda tensor: tensor * 10).to(torch.float16)
    assert both.context[:, 0, 0].tolist() == [10, 20]
    assert both.pooled is not None
    assert both.pooled[:, 0].tolist() == [10, 20]
    assert (both.context.dtype, both.pooled.dtype) == (torch.float16, torch.float16)


def test_families_without_a_pooled_output() -> None:
    plain = Conditioning(torch.ones(1, 2, 3))
    assert (plain + plain).pooled is None
    assert plain.to(torch.float16).pooled is None
