"""AdamW over the vectors."""

from __future__ import annotations

import torch

from train_embedding.engine.optimizers import new_optimizer, set_rate


def stepped(rates: list[float], gradient: float = 1.0) -> torch.Tensor:
    vectors = torch.full((2, 3), 5.0, requires_grad=True)
    optimizer = new_optimizer([vectors], rates[0])
    for rate in rates:
        set_rate(optimizer, rate)
        vectors.grad = torch.full((2, 3), gradient)
        optimizer.step()
    return vectors.detach()


def test_a_first_step_is_as_long_as_the_rate() -> None:
    assert torch.allclose(stepped([0.1]), torch.full((2, 3), 4.9))


def test_the_rate_can_change() -> None:
    assert torch.allclose(stepped([0.1, 0.01]), torch.full((2, 3), 4.89))


def test_no_weight_decay() -> None:
    assert torch.equal(stepped([0.1] * 5, gradient=0.0), torch.full((2, 3), 5.0))
