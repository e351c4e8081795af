"""Aspect ratio bucketing: sizes of the buckets, the bucket of each image, and the order of batches."""

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
"Largest ratio of the longer side to the shorter side; more extreme images are cropped."
_GROUP_STEPS = 2**32


def bucket_sizes(width: int, height: int) -> tuple[Size, ...]:
    """Compute the sizes of all buckets, in order of width.

    Each has at most width × height pixels, and one of them is width × height. Sides are multiples of 64 pixels, as in the
    training of checkpoints for 512 pixels and more. Below 512 pixels they are multiples of about an eighth of the side.
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
    """Find the bucket whose aspect ratio is nearest to an image's; of equal ones, the bucket with more pixels."""

    def distance(other: Size) -> tuple[float, int]:
        return abs(math.log(size[0] * other[1] / (size[1] * other[0]))), -other[0] * other[1]

    return min(sizes, key=distance)


class BatchOrder:
    """The images of each step, as a function of the seed and the step only.

    All images of a batch are from one group. A round has one batch per image: each group contributes as many batches as it has
    images, evenly spread, so that every image is used `batch_size` times per round. Within a group, images follow in shuffled
    epochs, so that no image is used more than once more often than another. A batch larger than its group continues with the next
    epoch.

    Args:
        groups: Indices of the images of each size. An image with n repeats occurs n times.
        batch_size: Images per step.
        seed: Seed of the run.
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
        """Return the group of each batch of a round, and the number of earlier batches of that group in the round."""
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
        """Return the images at positions in the endless sequence of a group's shuffled epochs."""
        images = self._groups[group]
        row: list[int] = []
        for epoch in range(positions.start // len(images), (positions.stop - 1) // len(images) + 1):
            generator = step_generator(self._seed, BUCKET_ORDER + group * _GROUP_STEPS + epoch)
            order: list[int] = torch.randperm(len(images), generator=generator).tolist()
            row += [images[index] for index in order]
        start = positions.start % len(images)
        return row[start : start + len(positions)]
