"""Nested plain values and tensors: what is saved comes back bit for bit, and nothing else is taken for it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from safetensors.torch import save

from train_embedding.engine.training.nested_values import from_bytes, to_bytes
from train_embedding.engine.training.optimizers import make_optimizer

LOSSES = torch.tensor([0.1, 1 / 3, 5e-324, 1e308], dtype=torch.float64)


def assert_same(one: object, two: object) -> None:
    assert type(one) is type(two)
    if isinstance(one, torch.Tensor):
        assert isinstance(two, torch.Tensor)
        assert (one.dtype, one.shape) == (two.dtype, two.shape)
        assert one.contiguous().numpy().tobytes() == two.numpy().tobytes()
    elif isinstance(one, dict):
        assert isinstance(two, dict)
        assert list(one) == list(two)
        for key in one:
            assert_same(one[key], two[key])
    elif isinstance(one, list | tuple):
        assert isinstance(two, list | tuple)
        assert len(one) == len(two)
        for ours, theirs in zip(one, two, strict=True):
            assert_same(ours, theirs)
    else:
        assert repr(one) == repr(two)


@pytest.mark.parametrize(
    "values",
    [
        None, True, 0, -(2**70), 0.1, -0.0, 1e-320, math.inf, math.nan, "", "ünï \" \\ \n 猫 \ud800", [], (), {}, (1, [2, (3,)]),
        {"a": {1: None, 0: "zero", "1": False}}, {"tensor": "1", "tuple": [], "dict": {}}, LOSSES,
        [LOSSES, (LOSSES,), {7: LOSSES}], torch.tensor(3.0), torch.arange(12).reshape(3, 4).t(), torch.tensor([True, False]),
        torch.tensor([math.nan, -math.inf, -0.0]),
    ],
)  # fmt: skip
def test_what_is_saved_comes_back(values: object) -> None:
    assert_same(values, from_bytes(to_bytes(values)))


def test_half_precision_comes_back() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        saved = torch.randn(2, 3, dtype=torch.float32).to(dtype)
        back = from_bytes(to_bytes(saved))
        assert isinstance(back, torch.Tensor)
        assert back.dtype == dtype
        assert torch.equal(back, saved)


@pytest.mark.parametrize("name", ["adamw", "direction", "prodigy"])
def test_an_optimizers_state_comes_back(name: str) -> None:
    if name == "prodigy":
        pytest.importorskip("prodigyopt")
    vectors = torch.randn(2, 5, requires_grad=True)
    optimizer = make_optimizer(name, [vectors], 0.1)
    for _ in range(3):
        vectors.square().sum().backward()
        optimizer.step()
    assert_same(optimizer.state_dict(), from_bytes(to_bytes(optimizer.state_dict())))


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", {None: 1}, {True: 1}, {(1, 2): 3}, object()])
def test_other_values_are_refused(value: object) -> None:
    with pytest.raises(TypeError, match="cannot be"):
        to_bytes([value])


def _header(entry: Any) -> bytes:
    return save({"0": torch.ones(1)}, {"values": entry if isinstance(entry, str) else json.dumps(entry)})


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\x08\0\0\0\0\0\0\0{}", b"PK\x03\x04", b"\xff" * 64, save({"0": torch.ones(1)}), _header("{"),
        _header({"tensor": "1"}), _header({"tensor": ["0"]}), _header({"set": []}), _header({"tuple": 3}),
        _header({"dict": [[[], 1]]}), _header({"dict": [1]}), _header({"tensor": "0", "tuple": []}), _header({}),
        _header("[" * 100_000 + "]" * 100_000),
        to_bytes([LOSSES])[:-1], to_bytes([LOSSES]) + b"0",
    ],
)  # fmt: skip
def test_damaged_files_are_reported(data: bytes) -> None:
    with pytest.raises(ValueError, match="it is damaged, or not a file of saved values"):
        from_bytes(data)
