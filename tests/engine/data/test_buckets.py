"""Aspect-ratio buckets: the sizes, the choice of one, and the order of the batches."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from train_embedding.engine.data.buckets import MAX_RATIO, BatchOrder, bucket_sizes, nearest_size
from train_embedding.engine.seeds import step_generator


@pytest.mark.parametrize(("side", "step"), [(64, 8), (128, 16), (256, 32), (512, 64), (768, 64), (1024, 64)])
def test_sizes(side: int, step: int) -> None:
    sizes = bucket_sizes(side, side)
    assert (side, side) in sizes
    assert len(set(sizes)) == len(sizes) >= 7
    for width, height in sizes:
        assert width % step == height % step == 0
        assert 0.75 * side * side < width * height <= side * side
        assert max(width, height) <= MAX_RATIO * min(width, height)
        assert (height, width) in sizes


def test_sizes_at_512() -> None:
    assert bucket_sizes(512, 512) == (
        (320, 768), (384, 640), (448, 576), (512, 512), (576, 448), (640, 384), (768, 320),
    )  # fmt: skip


@pytest.mark.parametrize("size", [(8, 8), (72, 56), (520, 520), (512, 768), (4096, 4096), (8, 4096)])
def test_the_size_that_was_asked_for_is_one(size: tuple[int, int]) -> None:
    sizes = bucket_sizes(*size)
    assert size in sizes
    assert nearest_size(size, sizes) == size
    assert all(width % 8 == height % 8 == 0 and width * height <= size[0] * size[1] for width, height in sizes)


@pytest.mark.parametrize(
    ("size", "nearest"),
    [
        ((64, 64), (512, 512)), ((3000, 3000), (512, 512)), ((1000, 990), (512, 512)), ((4000, 3000), (576, 448)),
        ((3000, 4000), (448, 576)), ((1920, 1080), (640, 384)), ((1, 1000), (320, 768)), ((9000, 10), (768, 320)),
    ],
)  # fmt: skip
def test_the_nearest_size(size: tuple[int, int], nearest: tuple[int, int]) -> None:
    assert nearest_size(size, bucket_sizes(512, 512)) == nearest


def test_of_two_sizes_of_one_shape_the_larger() -> None:
    assert nearest_size((100, 100), [(64, 64), (96, 96), (8, 8)]) == (96, 96)


GROUPS = ([0], [1, 2], [3, 4, 5, 6, 7, 8, 9])


@pytest.mark.parametrize("batch_size", [1, 2, 4, 16])
def test_every_picture_equally_often_after_each_round(batch_size: int) -> None:
    order = BatchOrder(GROUPS, batch_size, 5)
    shown: Counter[int] = Counter()
    for step in range(1, 51):
        chosen = order.at(step)
        assert len(chosen) == batch_size
        (group,) = [group for group in GROUPS if set(chosen) <= set(group)]
        shown.update(chosen)
        within = [shown[picture] for picture in group]
        assert max(within) - min(within) <= 1
        if step % 10 == 0:
            assert [shown[picture] for picture in range(10)] == [batch_size * step // 10] * 10


def test_the_groups_come_evenly_spread() -> None:
    order = BatchOrder(GROUPS, 1, 6)
    counts = [0, 0, 0]
    for step in range(1, 201):
        (picture,) = order.at(step)
        counts[next(index for index, group in enumerate(GROUPS) if picture in group)] += 1
        assert all(abs(count - step * len(group) / 10) < 2 for count, group in zip(counts, GROUPS, strict=True))


def test_a_picture_that_comes_more_often() -> None:
    order = BatchOrder([[0, 1, 1, 1]], 2, 0)
    assert Counter(picture for step in range(1, 9) for picture in order.at(step)) == {0: 4, 1: 12}


def test_a_step_needs_no_other() -> None:
    one, other = BatchOrder(GROUPS, 3, 7), BatchOrder(GROUPS, 3, 7)
    row = [one.at(step) for step in range(1, 41)]
    assert [other.at(step) for step in range(40, 0, -1)] == row[::-1]
    assert [BatchOrder(GROUPS, 3, 8).at(step) for step in range(1, 41)] != row


def test_rounds_differ() -> None:
    order = BatchOrder([[0], [1], [2], [3]], 1, 0)
    rounds = {tuple(order.at(4 * number + step)[0] for step in range(1, 5)) for number in range(20)}
    assert len(rounds) > 5


def test_one_size_is_a_row_of_shuffled_epochs() -> None:
    order = BatchOrder([[0, 1, 2, 3, 4]], 2, 9)
    row = [picture for step in range(1, 6) for picture in order.at(step)]
    epochs = [torch.randperm(5, generator=step_generator(9, 2**40 + epoch)).tolist() for epoch in range(2)]
    assert row == epochs[0] + epochs[1]
