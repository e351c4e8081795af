"""An embedding checks itself and keeps copies of its own."""

from __future__ import annotations

import pytest
import torch

from train_embedding.embeddings.embedding import Embedding
from train_embedding.errors import InvalidInput


def test_facts() -> None:
    embedding = Embedding("sword", {"clip_l": torch.ones(3, 768), "clip_g": torch.ones(3, 1280)}, step=5)
    assert (embedding.count, embedding.widths, embedding.family) == (3, {"clip_l": 768, "clip_g": 1280}, "SDXL")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_kept_as_fp32(dtype: torch.dtype) -> None:
    vectors = torch.full((2, 768), 0.5, dtype=dtype)
    assert Embedding("sword", {"clip_l": vectors}).vectors["clip_l"].dtype == torch.float32


def test_in_the_order_of_the_encoders() -> None:
    turned = Embedding("sword", {"clip_g": torch.ones(1, 1280), "clip_l": torch.ones(1, 768)})
    assert list(turned.vectors) == list(turned.widths) == ["clip_l", "clip_g"]


def test_kept_as_a_copy() -> None:
    leaf = torch.ones(2, 4, requires_grad=True)
    embedding = Embedding("sword", {"clip_l": leaf})
    with torch.no_grad():
        leaf.zero_()
    kept = embedding.vectors["clip_l"]
    assert bool((kept == 1).all())
    assert not kept.requires_grad
    assert kept.is_contiguous()


@pytest.mark.parametrize(
    ("vectors", "reason"),
    [
        ({}, "no vectors"),
        ({"clip_l": torch.ones(768)}, "2-D floating-point tensor"),
        ({"clip_l": torch.ones(0, 768)}, "2-D floating-point tensor"),
        ({"clip_l": torch.ones(2, 0)}, "2-D floating-point tensor"),
        ({"clip_l": torch.ones(1, 2, 3)}, "2-D floating-point tensor"),
        ({"clip_l": torch.ones(2, 4, dtype=torch.int64)}, "2-D floating-point tensor"),
        ({"clip_l": torch.ones(2, 4, dtype=torch.complex64)}, "2-D floating-point tensor"),
        ({"clip_l": torch.ones(2, 4, device="meta")}, "2-D floating-point tensor"),
        ({"clip_l": torch.ones(2, 4).to_sparse()}, "2-D floating-point tensor"),
        ({"clip_l": torch.tensor([[1.0, float("nan")]])}, "NaN"),
        ({"clip_l": torch.tensor([[1.0, float("-inf")]])}, "infinity"),
        ({"clip_l": torch.tensor([[1e300]], dtype=torch.float64)}, "infinity"),
        ({"clip_l": torch.ones(1, 1).expand(1000, 2**20)}, "too large"),
        ({"clip_l": torch.ones(1, 1).expand(1001, 1)}, "1001 vectors; at most 1000"),
        ({"clip_l": torch.ones(2, 768), "clip_g": torch.ones(3, 1280)}, "2 for clip_l, 3 for clip_g"),
        ({"t5": torch.ones(2, 768)}, "t5"),
    ],
)
def test_refused(vectors: dict[str, torch.Tensor], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        Embedding("sword", vectors)
