"""How long a run will take and how much memory it needs, before it is started.

Times come from steps that were measured on this computer, memory from counts on the meta device (`bench memory`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from train_embedding.embeddings.text_encoders import Family, family_of
from train_embedding.engine.config.spec import ResolvedSpec, TrainingSpec, resolve
from train_embedding.hosts.base import Host, HostInfo
from train_embedding.services.training.step_times import StepTime, device_name, images_per_step, load_step_times

GIB = 2**30
RESERVED = GIB
"Bytes for the driver's context, workspaces of kernels and the host, as in the documented counts."
_FP16_BYTES = 2
_DTYPE_BYTES = {"float32": 4, "float64": 8}
_EVALUATIONS_BESIDES = 2
"Evaluations before the first and after the last step."


@dataclass(frozen=True)
class StepBytes:
    """Peak memory of a step in bytes, in addition to the weights: per image, and per pixel of it."""

    image: int
    pixel: int

    def of(self, images: int, pixels: int) -> int:
        """Return the peak of a step."""
        return images * (self.image + self.pixel * pixels)


@dataclass(frozen=True)
class Counts:
    """What is counted for a family on the meta device, with fp16 weights and frozen layers."""

    weights: int
    "UNet, VAE and text encoders in bytes."
    step: StepBytes
    checkpointed: StepBytes
    "With gradient checkpointing."
    side: int
    "Side of the image in pixels at which `attention` was counted."
    attention: float
    "Share of attention in the operations of a step; it grows with the square of the pixels."


MIB = 2**20
COUNTED: dict[Family, Counts] = {
    "SD1": Counts(2034 * MIB, StepBytes(22 * MIB, 2012), StepBytes(20 * MIB, 741), 512, 0.20),
    "SD2": Counts(2484 * MIB, StepBytes(54 * MIB, 2010), StepBytes(50 * MIB, 742), 768, 0.36),
    "SDXL": Counts(6616 * MIB, StepBytes(129 * MIB, 3885), StepBytes(105 * MIB, 672), 1024, 0.165),
}
"By `engine/profiling`: `count_memory` and `count_step`."


@dataclass(frozen=True)
class MemoryEstimate:
    """Memory of the graphics card that a run needs, in bytes."""

    weights: int
    "UNet, VAE and text encoders."
    step: int
    "Peak of a step in addition to the weights."
    step_checkpointed: int
    "The same with gradient checkpointing, to which a run changes when memory runs out."
    available: int | None = None
    "Memory of the graphics card; None if it is unknown."

    @property
    def total(self) -> int:
        """Everything together, with a reserve for what is not counted."""
        return self.weights + self.step + RESERVED

    @property
    def total_checkpointed(self) -> int:
        """The total with gradient checkpointing."""
        return self.weights + self.step_checkpointed + RESERVED

    @property
    def fits(self) -> Literal["yes", "checkpointed", "no", "unknown"]:
        """Whether the graphics card has enough memory, perhaps with gradient checkpointing only."""
        if self.available is None:
            return "unknown"
        if self.available >= self.total:
            return "yes"
        return "checkpointed" if self.available >= self.total_checkpointed else "no"

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, as the API answers them."""
        return {
            "weights_bytes": self.weights,
            "step_bytes": self.step,
            "total_bytes": self.total,
            "total_with_gradient_checkpointing_bytes": self.total_checkpointed,
            "available_bytes": self.available,
            "fits": self.fits,
        }


@dataclass(frozen=True)
class TimeEstimate:
    """Time of a run in seconds."""

    most: float
    "Of all steps, with preparation, evaluations and previews as far as these were measured."
    usual: float | None
    "The same up to the step at which early stopping may end the run; None if it can end anywhere or nowhere."
    step: float
    measured: StepTime
    "The measurement that this was computed from."
    exact: bool
    "Whether it was measured at the size and the number of images of the run; otherwise it is scaled by counted operations."

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, as the API answers them."""
        return {
            "seconds_at_most": round(self.most, 1),
            "seconds_if_stopped_early": None if self.usual is None else round(self.usual, 1),
            "seconds_per_step": round(self.step, 4),
            "scaled": not self.exact,
            "measured": {
                "date": self.measured.date,
                "checkpoint": self.measured.checkpoint,
                "device": self.measured.device,
                "size": [self.measured.width, self.measured.height],
                "images_per_step": self.measured.images,
            },
        }


@dataclass(frozen=True)
class Estimate:
    """What a run needs."""

    steps: int
    "Most steps."
    usual_steps: int | None
    "The step at which early stopping may end the run; None if it can end anywhere or nowhere."
    stops_early: bool
    "Whether early stopping can end the run before its last step."
    time: TimeEstimate | None
    "None if no comparable training was measured on this computer."
    memory: MemoryEstimate | None
    "None if the checkpoint is of a size that was not counted."

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, as the API answers them."""
        return {
            "steps_at_most": self.steps,
            "steps_if_stopped_early": self.usual_steps,
            "stops_early": self.stops_early,
            "time": None if self.time is None else self.time.to_json(),
            "memory": None if self.memory is None else self.memory.to_json(),
        }


class Estimates:
    """Estimates runs. Safe to use from any thread.

    Args:
        host: The host that would train.
    """

    def __init__(self, host: Host) -> None:
        self._host = host

    def estimate(self, spec: TrainingSpec) -> Estimate:
        """Estimate time and memory of a run, whose embedding and dataset need not exist."""
        info = self._host.info()
        resolved = resolve(spec, info.resolution)
        usual = resolved.budget(0) if resolved.can_extend(resolved.budget(0), 0) else None
        stops_early = usual is not None or bool(spec.early_stopping and spec.eval_every and not resolved.rate_falls)
        known = load_step_times(info.runs_folder) if info.widths else []
        time = estimate_time(resolved, info, known, usual) if known else None
        return Estimate(resolved.steps, usual, stops_early, time, estimate_memory(resolved, info))


def estimate_time(
    resolved: ResolvedSpec, info: HostInfo, known: Sequence[StepTime], usual: int | None = None
) -> TimeEstimate | None:
    """Compute the time of a run from the most similar measurement; None if there is none of its family on this device.

    Args:
        resolved: The options of the run.
        info: The host that would train.
        known: The measurements of this computer, the oldest first.
        usual: The step at which early stopping may end the run.
    """
    measured = _nearest(resolved, info, known)
    if measured is None:
        return None
    size = _work(info, resolved.width, resolved.height)
    per_image = size / _work(info, measured.width, measured.height)
    step = measured.step * per_image * images_per_step(resolved) / measured.images
    parts = replace(
        measured,
        step=step,
        evaluation=measured.evaluation and measured.evaluation * per_image,
        preview=measured.preview and measured.preview * per_image,
    )
    exact = (measured.width, measured.height, measured.images) == (
        resolved.width, resolved.height, images_per_step(resolved),
    )  # fmt: skip
    return TimeEstimate(
        _seconds(parts, resolved, resolved.steps),
        None if usual is None else _seconds(parts, resolved, usual),
        step,
        measured,
        exact,
    )


def estimate_memory(resolved: ResolvedSpec, info: HostInfo) -> MemoryEstimate | None:
    """Compute the memory of a run on a graphics card; None on another device, and for a checkpoint that was not counted."""
    counts = COUNTED.get(family_of(info.widths))
    if counts is None or not info.device.startswith("cuda"):
        return None
    images, pixels = resolved.spec.batch_size, resolved.width * resolved.height
    factor = _DTYPE_BYTES.get(info.dtype, _FP16_BYTES) // _FP16_BYTES
    return MemoryEstimate(
        factor * counts.weights,
        factor * counts.step.of(images, pixels),
        factor * counts.checkpointed.of(images, pixels),
        _memory_of(info.device),
    )


def _nearest(resolved: ResolvedSpec, info: HostInfo, known: Sequence[StepTime]) -> StepTime | None:
    """Return the newest measurement of the same family on the same device whose steps have the most similar work."""
    wanted = (info.widths, info.resolution, device_name(info.device), info.dtype, resolved.spec.distills)
    alike = [
        measured
        for measured in known
        if (measured.widths, measured.resolution, measured.device, measured.dtype, measured.distills) == wanted
    ]
    work = images_per_step(resolved) * _work(info, resolved.width, resolved.height)

    def distance(measured: StepTime) -> float:
        return abs(math.log(measured.images * _work(info, measured.width, measured.height) / work))

    return min(reversed(alike), key=distance, default=None)


def _work(info: HostInfo, width: int, height: int) -> float:
    """Return the operations of a step per image, relative to those at the native size of the family."""
    counts = COUNTED.get(family_of(info.widths))
    if counts is None:
        return width * height / info.resolution**2
    size = width * height / counts.side**2
    return (1 - counts.attention) * size + counts.attention * size**2


def _seconds(parts: StepTime, resolved: ResolvedSpec, steps: int) -> float:
    """Add up the parts of a run that were measured."""
    spec = resolved.spec
    evaluations = steps // spec.eval_every + _EVALUATIONS_BESIDES if spec.eval_every else 0
    previews = (steps // spec.preview_every + 1) * len(spec.preview_prompts()) if spec.preview_every else 0
    return (
        (parts.preparation or 0)
        + steps * parts.step
        + evaluations * (parts.evaluation or 0)
        + previews * spec.preview_steps * (parts.preview or 0)
    )


def _memory_of(device: str) -> int | None:
    """Return the memory of a graphics card in bytes; None if it is unknown."""
    import torch

    return torch.cuda.mem_get_info(device)[1] if torch.cuda.is_available() else None
