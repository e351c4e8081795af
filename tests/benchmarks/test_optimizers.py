"""The second-order and low-rank variants of Direction: their directions, and that the norm of vectors stays."""

from __future__ import annotations

import torch

from benchmarks.optimizers import full_matrix, low_rank


def moved(optimizer: torch.optim.Optimizer, vectors: torch.Tensor, gradients: list[torch.Tensor]) -> torch.Tensor:
    """How the vectors have changed after a step with each gradient."""
    before = vectors.detach().clone()
    for gradient in gradients:
        vectors.grad = gradient.clone()
        optimizer.step()
    assert torch.allclose(vectors.norm(dim=1), before.norm(dim=1))
    return vectors.detach() - before


def test_a_low_rank_step_stays_among_the_words() -> None:
    torch.manual_seed(0)
    words = torch.zeros(5, 8)
    words[:, :3] = torch.randn(5, 3)
    vectors = torch.zeros(1, 8, requires_grad=True)
    vectors.data[0, 7] = 2.0
    change = moved(low_rank(3)([vectors], 0.1, words), vectors, [torch.randn(1, 8)])
    assert change[0, :3].norm() > 0.1
    assert change[0, 3:7].abs().max() < 1e-6


def test_directions_with_large_gradients_weigh_less_in_a_full_matrix() -> None:
    vectors = torch.zeros(1, 4, requires_grad=True)
    vectors.data[0, 3] = 1.0
    large, small = torch.tensor([[10.0, 0, 0, 0]]), torch.tensor([[0, 0.1, 0, 0]])
    both = large + small
    plain = both[0, 1] / both[0, 0]
    change = moved(full_matrix(1e-9)([vectors], 0.01, torch.empty(0, 4)), vectors, [large, small, both])
    assert change[0, 1] / change[0, 0] > 10 * plain
