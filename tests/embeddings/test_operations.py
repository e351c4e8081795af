"""Exact algebra on tables of vectors."""

from __future__ import annotations

import torch

from train_embedding.embeddings import operations
from train_embedding.embeddings.operations import Tables


def tables(*rows: list[float]) -> dict[str, torch.Tensor]:
    """The same vectors for two text encoders, doubled for the second."""
    table = torch.tensor(rows)
    return {"clip_l": table, "clip_g": 2 * table}


def equal(one: Tables, other: Tables) -> bool:
    return set(one) == set(other) and all(torch.equal(one[key], other[key]) for key in one)


A, B = tables([1.0, 2.0], [3.0, 4.0]), tables([10.0, 0.0])


def test_sums_and_means_of_different_lengths() -> None:
    assert equal(operations.added([A, B]), tables([11.0, 2.0], [3.0, 4.0]))
    assert equal(operations.added([B, A, B]), tables([21.0, 2.0], [3.0, 4.0]))
    assert equal(operations.average([A, B]), tables([5.5, 1.0], [3.0, 4.0]))
    assert equal(operations.average([A]), A)


def test_scaling_joining_cutting_spreading() -> None:
    assert equal(operations.scaled(A, -0.5), tables([-0.5, -1.0], [-1.5, -2.0]))
    assert equal(operations.concatenated([A, B, A]), tables([1.0, 2.0], [3.0, 4.0], [10.0, 0.0], [1.0, 2.0], [3.0, 4.0]))
    assert equal(operations.sliced(A, 1, 2), tables([3.0, 4.0]))
    assert equal(operations.spread(A, 4), tables([1.0, 2.0], [1.0, 2.0], [3.0, 4.0], [3.0, 4.0]))
    assert equal(operations.spread(A, 1), tables([1.0, 2.0]))
    assert operations.count_of(A) == 2


def test_norms_per_encoder() -> None:
    given = tables([3.0, 4.0], [0.0, 0.0])
    scaled = operations.with_norm(given, {"clip_l": 10.0, "clip_g": 1.0})
    assert torch.equal(scaled["clip_l"], torch.tensor([[6.0, 8.0], [0.0, 0.0]]))
    torch.testing.assert_close(scaled["clip_g"].norm(dim=1), torch.tensor([1.0, 0.0]))
    assert operations.mean_norms(given) == {"clip_l": 2.5, "clip_g": 5.0}


def test_zeros_of_one_encoder_alone_are_kept() -> None:
    half = {"clip_l": torch.tensor([[0.0], [0.0], [1.0]]), "clip_g": torch.tensor([[0.0], [5.0], [0.0]])}
    assert equal(operations.without_zeros(half), {key: table[1:] for key, table in half.items()})
    assert operations.count_of(operations.without_zeros(tables([0.0, 0.0]))) == 0


def test_reducing_merges_the_neighbours_of_nearest_direction() -> None:
    given = tables([1.0, 0.0], [4.0, 0.1], [0.0, 2.0], [0.2, 6.0], [1.0, -1.0])
    merged = operations.reduced(given, 3)
    assert torch.equal(merged["clip_l"][2], given["clip_l"][4]), "what stands alone is as it was"
    for row, group in ((0, slice(0, 2)), (1, slice(2, 4))):
        members = given["clip_l"][group]
        torch.testing.assert_close(merged["clip_l"][row].norm(), members.norm(dim=1).mean())
        torch.testing.assert_close(torch.cosine_similarity(merged["clip_l"][row], members.mean(0), 0), torch.tensor(1.0))
    torch.testing.assert_close(merged["clip_g"], 2 * merged["clip_l"])


def test_reducing_keeps_the_order_and_what_needs_no_merging() -> None:
    given = tables([1.0, 0.0], [0.0, 1.0], [1.0, 0.01])  # the first and the last are alike, and no neighbours
    assert equal(operations.reduced(given, 3), given)
    assert torch.equal(operations.reduced(given, 2)["clip_l"][0], given["clip_l"][0])
    repeated = operations.spread(given, 9)
    torch.testing.assert_close(operations.reduced(repeated, 3)["clip_l"], given["clip_l"])


def test_reducing_to_one_and_zeros() -> None:
    assert operations.reduced(A, 1)["clip_l"].shape == (1, 2)
    assert torch.isfinite(operations.reduced(tables([0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]), 1)["clip_l"]).all()


def test_what_is_given_stays() -> None:
    kept = {key: table.clone() for key, table in A.items()}
    for change in (
        lambda: operations.added([A, B]),
        lambda: operations.scaled(A, 3),
        lambda: operations.with_norm(A, {"clip_l": 1.0, "clip_g": 1.0}),
        lambda: operations.reduced(A, 1),
    ):
        change()
    assert equal(A, kept)
