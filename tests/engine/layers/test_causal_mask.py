"""The causal mask is transformers' own, by its values, and the function that makes it is given back."""

from __future__ import annotations

import pytest
import torch
from transformers.models.clip import modeling_clip

from train_embedding.engine.layers.causal_mask import causal_mask_on_device, make_causal_mask


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_each_token_may_look_at(dtype: torch.dtype) -> None:
    mask = make_causal_mask((2, 3), dtype, torch.device("cpu"))
    low = torch.finfo(dtype).min
    expected = torch.tensor([[0, low, low], [0, 0, low], [0, 0, 0]], dtype=dtype)
    assert mask.shape == (2, 1, 3, 3)
    assert all(torch.equal(rows, expected) for rows in mask[:, 0])
    theirs = getattr(modeling_clip, "_make_causal_mask", None)
    assert theirs is None or torch.equal(theirs((2, 3), dtype, torch.device("cpu")), mask)


def test_the_function_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modeling_clip, "_make_causal_mask", "theirs", raising=False)

    def fail_within() -> None:
        with causal_mask_on_device():
            assert modeling_clip._make_causal_mask is make_causal_mask  # pyright: ignore[reportAttributeAccessIssue]
            raise KeyError

    with pytest.raises(KeyError):
        fail_within()
    assert modeling_clip._make_causal_mask == "theirs"  # pyright: ignore[reportAttributeAccessIssue]


def test_where_there_is_no_such_function_none_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(modeling_clip, "_make_causal_mask", raising=False)
    with causal_mask_on_device():
        assert not hasattr(modeling_clip, "_make_causal_mask")
    assert not hasattr(modeling_clip, "_make_causal_mask")
