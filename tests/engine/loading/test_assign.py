"""Modules over given tensors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from train_embedding.engine.layers.quantised import QuantisedWeight
from train_embedding.engine.loading.assign import assign_weights, count_shared_parameters
from train_embedding.errors import HostFailed


def new() -> nn.Linear:
    with torch.device("meta"):
        return nn.Linear(3, 2)


def test_tensors_are_taken_and_not_copied() -> None:
    joint, bias = torch.randn(6, 3), torch.randn(2)
    module = assign_weights(new(), {"weight": joint[2:4], "bias": bias})
    joint[2, 0] = 5.0
    assert float(module.weight.detach()[0, 0]) == 5.0
    assert count_shared_parameters(module, {"joint": joint, "bias": bias}) == (2, 2)
    assert count_shared_parameters(module, {"joint": joint}) == (1, 2)


def test_parameters_that_are_given_stay_the_callers() -> None:
    weight = nn.Parameter(torch.randn(2, 3))
    module = assign_weights(new(), {"weight": weight, "bias": torch.zeros(2)})
    assert module.weight is not weight
    module.requires_grad_(False)
    assert weight.requires_grad


@pytest.mark.parametrize(
    ("weights", "words"),
    [({"weight": torch.ones(2, 3)}, "1 missing and 0 unknown in Linear, such as bias"),
     ({"weight": torch.ones(2, 3), "bias": torch.ones(2), "x": torch.ones(1)}, "0 missing and 1 unknown in Linear, such as x")],
)  # fmt: skip
def test_a_tensor_for_every_place(weights: dict[str, torch.Tensor], words: str) -> None:
    with pytest.raises(HostFailed, match=words):
        assign_weights(new(), weights)


def test_a_quantised_weight_takes_the_place_of_the_parameter() -> None:
    stored = torch.randn(2, 3).to(torch.float8_e4m3fn)
    weight = QuantisedWeight(stored.shape, lambda device, dtype: stored.to(device, dtype))
    module = assign_weights(new(), {"weight": weight, "bias": torch.zeros(2)})
    assert [name for name, _ in module.named_parameters()] == ["bias"]
    assert torch.equal(module(torch.eye(3)), stored.float().t())
    with pytest.raises(HostFailed, match=r"0 missing and 1 unknown in QuantisedLinear, such as x\.weight"):
        assign_weights(new(), {"weight": weight, "bias": torch.zeros(2), "x.weight": weight})
