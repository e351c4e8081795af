"""An estimate of a run in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from train_embedding.messages import SPACE, Message, joined, msg
from train_embedding.services.training.estimate import GIB, RESERVED, Estimate, MemoryEstimate, TimeEstimate

_MINUTE, _HOUR = 60, 3600
_WORDS = 1.5
"Times up to so many minutes are given in seconds, and up to so many hours in minutes."


def describe_estimate(estimate: Estimate) -> Sequence[Message]:
    """Return sentences about time and memory: the time, what it was computed from, and the memory if it is known."""
    if estimate.time is None:
        sentences = [
            msg("No training with a checkpoint of this kind has been measured on this computer yet, so the time is unknown.")
        ]
    else:
        sentences = [_time(estimate, estimate.time), _source(estimate.time)]
    return [*sentences, *([] if estimate.memory is None else [_memory(estimate.memory)])]


def rough_time(seconds: float) -> Message:
    """Return a rounded time, as in "50 s", "12 min" or "2 h 10 min"."""
    if seconds < _WORDS * _MINUTE:
        return msg("{seconds} s", seconds=max(1, round(seconds)))
    if seconds < _WORDS * _HOUR:
        return msg("{minutes} min", minutes=round(seconds / _MINUTE))
    hours, minutes = divmod(round(seconds / _MINUTE), 60)
    return msg("{hours} h {minutes} min", hours=hours, minutes=minutes)


def _time(estimate: Estimate, time: TimeEstimate) -> Message:
    most = rough_time(time.most)
    if time.usual is not None and estimate.usual_steps is not None:
        return msg(
            "About {usual} if early stopping ends the run at step {step}, at most {most} for all {steps} steps.",
            usual=rough_time(time.usual),
            step=estimate.usual_steps,
            most=most,
            steps=estimate.steps,
        )
    if estimate.stops_early:
        return msg("At most {most} for {steps} steps; early stopping may end the run earlier.", most=most, steps=estimate.steps)
    return msg("About {most} for {steps} steps.", most=most, steps=estimate.steps)


def _source(time: TimeEstimate) -> Message:
    measured = time.measured
    values = {
        "seconds": f"{time.step:.2g}" if time.step < 10 else f"{time.step:.0f}",
        "date": measured.date,
        "checkpoint": measured.checkpoint,
        "width": measured.width,
        "height": measured.height,
        "images": measured.images,
    }
    if time.exact:
        return msg(
            "A step takes {seconds} s, as measured on {date} with {checkpoint} at {width} × {height}, images per step: {images}.",
            **values,
        )
    return msg(
        "A step takes about {seconds} s, scaled from a measurement on {date} with {checkpoint} at {width} × {height}, "
        "images per step: {images}.",
        **values,
    )


def _memory(memory: MemoryEstimate) -> Message:
    values = {
        "total": _gigabytes(memory.total),
        "weights": _gigabytes(memory.weights),
        "step": _gigabytes(memory.step),
        "reserve": _gigabytes(RESERVED),
        "less": _gigabytes(memory.total_checkpointed),
        "available": "" if memory.available is None else _gigabytes(memory.available),
    }
    needed = msg(
        "GPU memory: about {total} GB ({weights} GB for the checkpoint, {step} GB for a step, {reserve} GB in reserve).",
        **values,
    )
    if memory.fits == "yes":
        return joined((needed, msg("This GPU has {available} GB.", **values)), SPACE)
    if memory.fits == "checkpointed":
        slower = msg(
            "This GPU has {available} GB, so gradient checkpointing will be switched on: about {less} GB, and slower.", **values
        )
        return joined((needed, slower), SPACE)
    if memory.fits == "no":
        lacking = msg(
            "This GPU has {available} GB, and about {less} GB are needed even with gradient checkpointing: use a smaller batch "
            "size or smaller images.",
            **values,
        )
        return joined((needed, lacking), SPACE)
    return needed


def _gigabytes(size: int) -> str:
    return f"{size / GIB:.1f}"
