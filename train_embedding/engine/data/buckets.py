"""Aspect-ratio buckets: which sizes there are, which one an image gets, and in which order batches come from them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from train_embedding.engine.seeds import BUCKET_ORDER, BUCKET_ROUNDS, step_generator

Size = tuple[int, int]
"Width and height in pixels."
MAX_RATIO = 2.5
"Of the longer side to the shorter; longer images are cut."
_GROUP_STEPS = 2**32


def bucket_sizes(width: int, height: int) -> tuple[Size, ...]:
    """Sizes of every shape that have at most width × height pixels, among them that one; in the order of their widths.

    Sides are multiples of 64 pixels, as checkpoints of 512 pixels and more were trained with, and of an eighth of the side below.
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
    """The one of `sizes` whose shape is nearest to that of `size`; of two alike the one with more pixels."""

    def distance(other: Size) -> tuple[float, int]:
        return abs(math.log(size[0] * other[1] / (size[1] * other[0]))), -other[0] * other[1]

    return min(sizes, key=distance)


class BatchOrder:
    """Which images each step shows, as a function of the seed and the step alone.

    groups: the images of each size; one that comes several times as often stands in its group as many times. A batch is
    taken from one group. A round has as many batches as there are images, each group giving as many as it has images,
    evenly spread; so at the end of each round every image was shown equally often, `batch_size` times a round. Within a
    group images come in shuffled epochs: none is shown more than once more than another, at any time, and a batch that is
    larger than its group takes from the next epoch.
    """

    def __init__(self, groups: Sequence[Sequence[int]], batch_size: int, seed: int) -> None:
        self._groups = groups
        self._batch_size = batch_size
        self._seed = seed
        self._length = sum(map(len, groups))
        self._known: tuple[int, list[tuple[int, int]]] = (-1, [])

    def at(self, step: int) -> list[int]:
        """The images of a step, counted from 1; `batch_size` of them."""
        number, index = divmod(step - 1, self._length)
        group, turn = self._round(number)[index]
        first = (number * len(self._groups[group]) + turn) * self._batch_size
        return self._images(group, range(first, first + self._batch_size))

    def _round(self, number: int) -> list[tuple[int, int]]:
        """For each batch of a round its group, and how many batches of the round that group gave before."""
        if self._known[0] != number:
            phases = torch.rand(len(self._groups), generator=step_generator(self._seed, BUCKET_ROUNDS + number)).tolist()
            turns = [
                ((turn + phase) / len(group), index, turn)
                for index, (group, phase) in enumerate(zip(self._groups, phases, strict=True))
                for turn in range(len(group))
            ]
            self._known = number, [(index, turn) for _, index, turn in sorted(turns)]
        return self._known[1]

    def _images(self, group: int, positions: range) -> list[int]:
        """What stands at these positions of the group's endless row of shuffled epochs."""
        images = self._groups[group]
        row: list[int] = []
        for epoch in range(positions.start // len(images), (positions.stop - 1) // len(images) + 1):
            generator = step_generator(self._seed, BUCKET_ORDER + group * _GROUP_STEPS + epoch)
            row += [images[index] for index in torch.randperm(len(images), generator=generator).tolist()]
        start = positions.start % len(images)
        return row[start : start + len(positions)]
