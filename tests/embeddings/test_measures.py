"""Cosines against torch's own, and what they say of zeros and of tables of different lengths."""

from __future__ import annotations

import pytest
import torch

from train_embedding.embeddings.measures import cosine_of_all, cosine_of_each, cosines, similarity

ONE, OTHER = (torch.randn(count, 6, generator=torch.Generator().manual_seed(count)) for count in (3, 5))


def test_cosines_as_torch_computes_them() -> None:
    expected = torch.nn.functional.cosine_similarity(ONE[:, None], OTHER[None], dim=-1)
    torch.testing.assert_close(cosines(ONE, OTHER), expected)
    torch.testing.assert_close(cosine_of_each(ONE, OTHER[:3]), expected[:, :3].diagonal())
    flat = torch.nn.functional.cosine_similarity(ONE.reshape(-1), OTHER[:3].reshape(-1), dim=0)
    assert cosine_of_all(ONE, OTHER[:3]) == pytest.approx(float(flat))


def test_zeros_have_no_direction() -> None:
    zeros = torch.zeros(3, 6)
    assert cosines(zeros, ONE).abs().max() == 0
    assert cosine_of_all(zeros, ONE) == 0
    assert similarity(zeros, ONE) == 0


def test_similarity_heeds_neither_order_nor_length() -> None:
    assert similarity(ONE, ONE.flip(0) * 3) == pytest.approx(1)
    assert similarity(ONE, torch.cat([ONE, ONE])) == pytest.approx(1)
    assert similarity(ONE, OTHER) == pytest.approx(similarity(OTHER, ONE))
    assert similarity(ONE, OTHER) < 1
    best = cosines(ONE, OTHER)
    assert similarity(ONE, OTHER) == pytest.approx((float(best.amax(1).mean()) + float(best.amax(0).mean())) / 2)
