"""How long the parts of runs took on this computer, measured during each run and kept in a small file."""

from __future__ import annotations

import json
import logging
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

from train_embedding.embeddings.storage import write_atomically
from train_embedding.engine.config.spec import ResolvedSpec
from train_embedding.errors import StorageFailed
from train_embedding.hosts.base import HostInfo

FILE = "step-times.json"
"In the runs folder."
MAX_KEPT = 60
"Number of measurements that are kept; a new one replaces that of the same circumstances."
MAX_SIZE = 2**20
"Largest size of the file in bytes."

LONGEST = 1e6
"Largest time in seconds that is believed."
_lock = threading.Lock()

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepTime:
    """What was measured in a run, and under which circumstances. Times in seconds."""

    date: str
    "Of the end of the run, as in 2026-11-28."
    checkpoint: str
    widths: dict[str, int]
    "Width of a vector per text encoder of the checkpoint."
    resolution: int
    "Native image size of the checkpoint in pixels."
    device: str
    "Type or name of the device."
    dtype: str
    width: int
    "Training width in pixels."
    height: int
    images: int
    "Images per step: batch size times accumulation steps."
    distills: bool
    "Whether a prompt was packed, instead of training on images."
    step: float
    "Median time of a step."
    evaluation: float | None = None
    "Median time of an evaluation."
    preview: float | None = None
    "Mean time of a preview, divided by its sampling steps."
    preparation: float | None = None
    "From the start of the run to its first step: reading and encoding the images, and choosing the start."

    @property
    def circumstances(self) -> tuple[object, ...]:
        """What a later measurement must share to replace this one."""
        own = asdict(self)
        return tuple(str(own[name]) for name in _CIRCUMSTANCES)


_CIRCUMSTANCES = ("checkpoint", "widths", "resolution", "device", "dtype", "width", "height", "images", "distills")
_OPTIONAL = ("evaluation", "preview", "preparation")


class StepClock:
    """Measures the parts of a run, between moments at which the device has finished its work.

    Args:
        now: Returns the time in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._steps: list[float] = []
        self._evaluations: list[float] = []
        self._previews: list[float] = []
        self._since = 0.0
        self._pending = 0
        "Steps since the last moment at which the device had finished."
        self._is_warm = False

    def start(self) -> None:
        """Begin to measure, at the start of the loop; what was measured before is dropped, because the run may have slowed."""
        self._steps.clear()
        self._evaluations.clear()
        self._is_warm = False
        self.skip()

    def skip(self) -> None:
        """Leave out the time since the device had finished: it was spent on something else, such as saving."""
        self._since, self._pending = self._now(), 0

    def count_step(self) -> None:
        """Count a step, which the device may not have finished yet."""
        self._pending += 1

    def finish_steps(self) -> None:
        """Note that the device has finished all steps. The first ones are slower, and are not counted."""
        seconds, count = self._now() - self._since, self._pending
        if count and self._is_warm:
            self._steps.append(seconds / count)
        self._is_warm = self._is_warm or count > 0
        self.skip()

    def finish_evaluation(self) -> None:
        """Note that the device has finished an evaluation, and the steps before it."""
        seconds = self._now() - self._since
        if not self._pending:
            self._evaluations.append(seconds)
        elif self._steps and seconds > self._pending * self.step:
            self._evaluations.append(seconds - self._pending * self.step)
        self.skip()

    def add_previews(self, began: float, sampling_steps: int) -> None:
        """Note that previews with so many sampling steps in total were generated since a moment."""
        if sampling_steps:
            self._previews.append((self._now() - began) / sampling_steps)
        self.skip()

    def now(self) -> float:
        """Return the time in seconds."""
        return self._now()

    @property
    def step(self) -> float:
        """Median time of a step; 0 before one was measured."""
        return statistics.median(self._steps) if self._steps else 0.0

    @property
    def evaluation(self) -> float | None:
        """Median time of an evaluation."""
        return statistics.median(self._evaluations) if self._evaluations else None

    @property
    def preview(self) -> float | None:
        """Mean time of a sampling step of a preview."""
        return statistics.mean(self._previews) if self._previews else None


def load_step_times(runs_folder: Path) -> list[StepTime]:
    """Return the measurements, the oldest first; those that cannot be read are left out."""
    file = runs_folder / FILE
    try:
        if file.stat().st_size > MAX_SIZE:
            raise ValueError("it is too large")
        values: Any = json.loads(file.read_text(encoding="utf-8"))
        found = [_read(row) for row in cast("list[Any]", values["measured"])]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError) as error:
        logger.warning("The measured times in %s cannot be read: %s", file, error)
        return []
    return [measured for measured in found if measured is not None]


def add_step_time(runs_folder: Path, measured: StepTime) -> None:
    """Add a measurement in place of that of the same circumstances, whose parts are kept where this one has none.

    A failure is only logged, because the run itself has succeeded.
    """
    with _lock:
        known = load_step_times(runs_folder)
        others = [old for old in known if old.circumstances != measured.circumstances]
        for old in known:
            if old.circumstances == measured.circumstances:
                measured = replace(
                    measured, **{name: getattr(old, name) for name in _OPTIONAL if getattr(measured, name) is None}
                )
        rows = [asdict(row) for row in [*others, measured][-MAX_KEPT:]]
        try:
            write_atomically(runs_folder / FILE, json.dumps({"measured": rows}, ensure_ascii=False, indent=1).encode())
        except StorageFailed as error:
            logger.warning("The measured times were not saved: %s", error)


def measurement(clock: StepClock, resolved: ResolvedSpec, info: HostInfo, preparation: float | None) -> StepTime | None:
    """Return what a clock has measured in a run; None before a step was measured.

    Args:
        clock: The clock of the run.
        resolved: The options of the run.
        info: The host that the run was trained with.
        preparation: Time before the loop began.
    """
    if not clock.step:
        return None
    spec = resolved.spec
    return StepTime(
        time.strftime("%Y-%m-%d"),
        info.checkpoint_name,
        dict(info.widths),
        info.resolution,
        device_name(info.device),
        info.dtype,
        resolved.width,
        resolved.height,
        images_per_step(resolved),
        spec.distills,
        clock.step,
        clock.evaluation,
        clock.preview,
        preparation,
    )


def images_per_step(resolved: ResolvedSpec) -> int:
    """Return how many images a step of a run uses."""
    return resolved.spec.batch_size * resolved.spec.gradient_accumulation_steps


def device_name(device: str) -> str:
    """Return the name of a graphics card, such as "NVIDIA GeForce RTX 3060", or the type of another device."""
    kind = device.split(":")[0]
    if kind != "cuda":
        return kind
    import torch

    return torch.cuda.get_device_name(device) if torch.cuda.is_available() else kind


def _read(row: Any) -> StepTime | None:
    """Return a measurement from its JSON values; None if something about them is wrong."""
    if not isinstance(row, dict):
        return None
    given = cast("dict[str, Any]", row)
    values: dict[str, Any] = {field.name: given.get(field.name) for field in fields(StepTime)}
    texts = all(isinstance(values[name], str) for name in ("date", "checkpoint", "device", "dtype"))
    numbers = all(_is_count(values[name]) for name in ("resolution", "width", "height", "images"))
    times = _is_time(values["step"]) and all(values[name] is None or _is_time(values[name]) for name in _OPTIONAL)
    widths: Any = values["widths"]
    known_widths = isinstance(widths, dict) and all(map(_is_count, cast("dict[str, Any]", widths).values()))
    complete = texts and numbers and times and known_widths and isinstance(values["distills"], bool)
    return StepTime(**values) if complete else None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < LONGEST
