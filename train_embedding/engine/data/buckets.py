"""Aspect ratio bucketing: the sizes of the buckets, the one of an image, and the order of batches."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# torch's annotations are incomplete for some methods of Tensor.

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from train_embedding.engine.seeds import BUCKET_ORDER, BUCKET_ROUNDS, step_generator

Size = tuple[int, int]
"Width and height in pixels."
MAX_RATIO = 2.5
"Of the longer side to the shorter; images beyond it are cropped."
_GROUP_STEPS = 2**32


def bucket_sizes(width: int, height: int) -> tuple[Size, ...]:
    """Compute the sizes of all buckets: at most width × height pixels each, that size included, in order of width.

    Sides are multiples of 64 pixels, with which checkpoints of 512 pixels and more were trained, and of about an eighth of the
    side below.
    """
    area = width * height
    step = min(64, max(8, math.isqrt(area) // 64 * 8))
    sizes = {(width, height)}
    for short in range(step, math.isqrt(area) + 1, step):
        long = area // short // step * step
        if long <= MAX_RATIO * short:
            sizes |= {(short, long), (long, short)}
    return tuple(sorted(sizes))


def nearest_size(size: Size, sizes: Sequence[Size]) -> Size:
    """Find the bucket whose aspect ratio is nearest to that of an image; of two equal ones the one with more pixels."""

    def distance(other: Size) -> tuple[float, int]:
        return abs(math.log(size[0] * other[1] / (size[1] * other[0]))), -other[0] * other[1]

    return min(sizes, key=distance)


class BatchOrder:
    """The images of each step, as a function of the seed and the step only.

    A batch is taken from one group. A round has as many batches as there are images; each group gives as many as it has images,
    evenly spread, so that after each round every image was shown `batch_size` times. Within a group images come in shuffled
    epochs: no image is ever more than one showing ahead of another, and a batch that is larger than its group continues with the
    next epoch.

    Args:
        groups: The images of each size, by number. An image with repeats occurs that many times.
        batch_size: Images per step.
        seed: Of the run.
    """

    def __init__(self, groups: Sequence[Sequence[int]], batch_size: int, seed: int) -> None:
        self._groups = groups
        self._batch_size = batch_size
        self._seed = seed
        self._length = sum(map(len, groups))
        self._last_round: tuple[int, list[tuple[int, int]]] = (-1, [])

    def at(self, step: int) -> list[int]:
        """Return the `batch_size` images of a step, counted from 1."""
        number, index = divmod(step - 1, self._length)
        group, turn = self._round(number)[index]
        first = (number * len(self._groups[group]) + turn) * self._batch_size
        return self._images(group, range(first, first + self._batch_size))

    def _round(self, number: int) -> list[tuple[int, int]]:
        """Return, for each batch of a round, its group and how many batches of the round that group gave before."""
        if self._last_round[0] != number:
            phases: list[float] = torch.rand(
                len(self._groups), generator=step_generator(self._seed, BUCKET_ROUNDS + number)
            ).tolist()
            turns = [
                ((turn + phase) / len(group), index, turn)
                for index, (group, phase) in enumerate(zip(self._groups, phases, strict=True))
                for turn in range(len(group))
            ]
            self._last_round = number, [(index, turn) for _, index, turn in sorted(turns)]
        return self._last_round[1]

    def _images(self, group: int, positions: range) -> list[int]:
        """Return the images at some positions of the group's endless sequence of shuffled epochs."""
        images = self._groups[group]
        row: list[int] = []
        for epoch in range(positions.start // len(images), (positions.stop - 1) // len(images) + 1):
            generator = step_generator(self._seed, BUCKET_ORDER + group * _GROUP_STEPS + epoch)
            order: list[int] = torch.randperm(len(images), generator=generator).tolist()
            row += [images[index] for index in order]
        start = positions.start % len(images)
        return row[start : start + len(positions)]
