"""Optimizers over the vectors."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from train_embedding.engine.training.optimizers import make_optimizer, set_learning_rate
from train_embedding.errors import InvalidSpec


def stepped(rates: list[float], gradient: float = 1.0) -> torch.Tensor:
    vectors = torch.full((2, 3), 5.0, requires_grad=True)
    optimizer = make_optimizer("adamw", [vectors], rates[0])
    for rate in rates:
        set_learning_rate(optimizer, rate)
        vectors.grad = torch.full((2, 3), gradient)
        optimizer.step()
    return vectors.detach()


def test_a_first_step_is_as_long_as_the_rate() -> None:
    assert torch.allclose(stepped([0.1]), torch.full((2, 3), 4.9))


def test_the_rate_can_change() -> None:
    assert torch.allclose(stepped([0.1, 0.01]), torch.full((2, 3), 4.89))


def test_no_weight_decay() -> None:
    assert torch.equal(stepped([0.1] * 5, gradient=0.0), torch.full((2, 3), 5.0))


def turned(start: torch.Tensor, goal: torch.Tensor, steps: int, rate: float = 0.05) -> torch.Tensor:
    """The vectors after steps down the squared distance of their directions from the goal's."""
    vectors = start.clone().requires_grad_()
    optimizer = make_optimizer("direction", [vectors], rate)
    for _ in range(steps):
        optimizer.zero_grad()
        (torch.nn.functional.normalize(vectors, dim=-1) - goal).square().sum().backward()
        optimizer.step()
    return vectors.detach()


def test_direction_keeps_the_length_and_turns() -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, 16, generator=generator) * torch.tensor([[0.4], [1.0], [7.0]])
    goal = torch.nn.functional.normalize(torch.randn(3, 16, generator=generator), dim=-1)
    after = turned(start, goal, 400, 0.02)
    assert torch.allclose(after.norm(dim=-1), start.norm(dim=-1), rtol=1e-5)
    cosine = torch.nn.functional.cosine_similarity(after, goal)
    assert (cosine > 0.99).all()
    assert (torch.nn.functional.cosine_similarity(start, goal) < 0.6).all()


def test_the_first_turn_is_as_long_as_the_rate_whatever_the_gradient() -> None:
    """One step along the tangent, then back onto the sphere: the angle is the rate's arc tangent."""
    start = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.5, 0.0]])
    for scale in (1e-3, 1.0, 1e3):
        vectors = start.clone().requires_grad_()
        optimizer = make_optimizer("direction", [vectors], 0.1)
        vectors.grad = torch.tensor([[5.0, 1.0, 0.0], [0.0, 5.0, -1.0]]) * scale
        optimizer.step()
        expected = torch.tensor([[2.0, -0.2, 0.0], [0.0, 0.5, 0.05]]) / (1 + 0.1**2) ** 0.5
        assert torch.allclose(vectors.detach(), expected, atol=1e-3)


def test_a_vector_of_zeros_stays() -> None:
    vectors = torch.zeros(2, 4, requires_grad=True)
    optimizer = make_optimizer("direction", [vectors], 0.1)
    vectors.grad = torch.ones(2, 4)
    optimizer.step()
    assert torch.equal(vectors.detach(), torch.zeros(2, 4))


@pytest.mark.parametrize("name", ["adamw", "direction"])
def test_a_saved_optimizer_goes_on_to_the_same_bits(name: str) -> None:
    def run(optimizer: torch.optim.Optimizer, vectors: torch.Tensor, steps: range) -> None:
        for step in steps:
            vectors.grad = torch.randn(2, 5, generator=torch.Generator().manual_seed(step))
            optimizer.step()

    start = torch.randn(2, 5, generator=torch.Generator().manual_seed(100))
    whole = start.clone().requires_grad_()
    optimizer = make_optimizer(name, [whole], 0.01)
    run(optimizer, whole, range(4))
    saved, vectors_then = optimizer.state_dict(), whole.detach().clone()
    saved = torch.load(_saved(saved), weights_only=True)
    run(optimizer, whole, range(4, 9))
    part = start.clone().requires_grad_()
    resumed = make_optimizer(name, [part], 0.01)
    with torch.no_grad():
        part.copy_(vectors_then)
    resumed.load_state_dict(saved)
    run(resumed, part, range(4, 9))
    assert torch.equal(part, whole)


def _saved(values: object) -> object:
    from io import BytesIO

    data = BytesIO()
    torch.save(values, data)
    data.seek(0)
    return data


@pytest.mark.skipif(importlib.util.find_spec("prodigyopt") is not None, reason="prodigyopt is installed")
def test_without_prodigy_a_sentence_says_so() -> None:
    with pytest.raises(InvalidSpec, match="not installed"):
        make_optimizer("prodigy", [torch.zeros(1, 2, requires_grad=True)], 1.0)


def test_prodigy_finds_its_own_rate() -> None:
    pytest.importorskip("prodigyopt")
    vectors = torch.full((1, 8), 3.0, requires_grad=True)
    optimizer = make_optimizer("prodigy", [vectors], 1.0)
    for _ in range(200):
        optimizer.zero_grad()
        (vectors - 1).square().sum().backward()
        optimizer.step()
    assert torch.allclose(vectors.detach(), torch.ones(1, 8), atol=0.05)
