"""The filling rule, against the loop that the WebUI runs."""

from __future__ import annotations

import pytest
import torch

from train_embedding.embeddings.create import fill, takes_whole_text, zeros


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 12, 75])
@pytest.mark.parametrize("given", [1, 2, 3, 5, 8, 77])
def test_fill_as_the_webui_does(given: int, count: int) -> None:
    tokens = torch.randn(given, 6, generator=torch.Generator().manual_seed(given))
    expected = torch.zeros(count, 6)
    for i in range(count):
        expected[i] = tokens[i * int(tokens.shape[0]) // count]
    assert torch.equal(fill(tokens, count), expected)


def test_as_many_vectors_as_tokens_is_the_text_itself() -> None:
    tokens = torch.randn(5, 8)
    assert torch.equal(fill(tokens, 5), tokens)


def test_no_tokens_give_zeros() -> None:
    assert torch.equal(fill(torch.empty(0, 8), 3), torch.zeros(3, 8))
    assert {key: value.shape for key, value in zeros({"clip_l": 768, "clip_g": 1280}, 2).items()} == {
        "clip_l": (2, 768),
        "clip_g": (2, 1280),
    }


def test_filled_in_fp32_without_gradient() -> None:
    filled = fill(torch.nn.Parameter(torch.ones(2, 4, dtype=torch.float16)), 2)
    assert filled.dtype == torch.float32
    assert not filled.requires_grad


def test_sd2_alone_takes_the_whole_text() -> None:
    assert takes_whole_text({"clip_h": 1024})
    assert not takes_whole_text({"clip_l": 768})
    assert not takes_whole_text({"clip_l": 768, "clip_g": 1280})
