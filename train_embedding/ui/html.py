"""Messages, progress and reports of the tab as HTML. Every value is escaped by its template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from markupsafe import Markup

from train_embedding.errors import InvalidExpression, TrainEmbeddingError
from train_embedding.translations import t
from train_embedding.ui.templates import render

if TYPE_CHECKING:
    from train_embedding.services.datasets import DatasetReport
    from train_embedding.services.library import Budget
    from train_embedding.services.training import RunState

MessageKind = Literal["good", "bad", "quiet"]
SHOWN_SKIPPED = 5
SHOWN_PICTURES = 100
_WAITING = {
    "queued": "Waiting for its turn",
    "preparing": "Reading the pictures",
    "stopping": "Stopping after this step",
}
RESUME = "Resume goes on from where it was last saved."
_ENDED = {"finished": "Finished", "stopped": "Stopped", "failed": "Failed", "interrupted": "Interrupted"}


def message(kind: MessageKind, text: str, *lines: str) -> Markup:
    """Return a box with a sentence, and further lines below it; empty lines are left out."""
    return render("message", kind=kind, text=text, lines=lines, pointer="")


def error(problem: TrainEmbeddingError) -> Markup:
    """Return the box that shows an error; a formula is shown with a mark below the wrong column."""
    pointer = problem.pointer if isinstance(problem, InvalidExpression) else ""
    return render("message", kind="bad", text=problem.message, lines=[problem.hint], pointer=pointer)


def budget(value: Budget) -> Markup:
    """Return the token budget of a new embedding, in words and as a bar."""
    text = f"{count(value.tokens, 'token')}; the embedding takes {value.vectors} of the {value.limit} tokens of a prompt."
    return render("budget", text=text, percent=min(100, round(100 * value.vectors / value.limit)))


def dataset(report: DatasetReport) -> Markup:
    """ "8 images, 5 with a text file, 1 skipped" and the reasons."""
    skipped = [f"{name}: {reason}" for name, reason in report.skipped]
    counts = ((report.captions, "with a text file"), (report.masks, "with a mask"), (len(skipped), "skipped"))
    text = ", ".join([count(report.images, "image"), *(f"{number} {what}" for number, what in counts if number)])
    more = "…" if len(skipped) > SHOWN_SKIPPED else ""
    return message("quiet", text, *skipped[:SHOWN_SKIPPED], more, *report.notes)


def pictures(report: Mapping[str, Any]) -> Markup:
    """What a run made of its pictures, folded away: size, caption and mask of each, and why others were not used."""
    used, skipped = report["used"], report["skipped"]
    sizes = ", ".join(f"{one['images']} at {_size(one['size'])}" for one in report["sizes"])
    title = f"{count(len(used), 'picture')}: {sizes}" + (f"; {len(skipped)} skipped" if skipped else "")
    rows = [(one["file"], _facts(one), one["caption"]) for one in used] + [(one["file"], one["reason"], "") for one in skipped]
    more = f"… and {len(rows) - SHOWN_PICTURES} more" if len(rows) > SHOWN_PICTURES else ""
    return render("image_report", title=title, rows=rows[:SHOWN_PICTURES], more=more)


def progress(state: RunState | None) -> Markup:
    """Return the progress bar; the script reads its data attributes."""
    if state is None:
        return render("no_progress")
    percent = 100 * state.step / state.steps if state.steps else 0
    return render("progress", run=state, text=progress_text(state), percent=f"{percent:.1f}", curves=_curves(state))


def progress_text(state: RunState) -> str:
    """Where a run stands in a few words: "step 120 of 400 · 1:05 left · loss 0.1234"."""
    parts = [_ENDED[state.status]] if state.status in _ENDED else []
    if state.status in _WAITING:
        parts.append(_WAITING[state.status])
    if state.status not in ("queued", "preparing"):
        parts.append(f"step {state.step} of {state.steps}")
    if state.active and state.eta_seconds is not None:
        parts.append(f"{duration(state.eta_seconds)} left")
    if state.loss is not None:
        parts.append(f"loss {state.loss:.4f}")
    return " · ".join(parts)


def run_status(state: RunState | None) -> Markup:
    """What became of a run: where its file is, or what went wrong; empty while all goes well."""
    if state is None:
        return Markup("")
    if state.status == "interrupted":  # with the process that it ran in
        text = f"Training {state.embedding} was interrupted at step {state.step} of {state.steps}."
        return message("quiet", text, RESUME, *state.notes)
    if state.error:
        return message("bad", state.error, state.hint, *_files(state), *state.notes)
    if state.active:
        return message("quiet", "Training goes on when this page is closed.", *state.notes)
    verb = "Trained" if state.status == "finished" else "Stopped"
    text = f"{verb} {state.embedding} after {count(state.step, 'step')} in {duration(state.seconds)}."
    return message("good", text, *_files(state), *state.notes)


def duration(seconds: float) -> str:
    """ "0:35", "12:05" or "1:02:03"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def steps(step: int | None) -> str:
    """ "400 steps", or "untrained"."""
    return count(step, "step") if step else "untrained"


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _curves(state: RunState) -> str:
    """Return what the plot of the losses shows in words, for screen readers; empty without a loss."""
    sentences: list[str] = []
    if state.losses:
        sentences.append(t("Training loss: {summary}.", summary=_curve(state.losses)))
    if state.evaluations:
        evaluations = [(step, loss) for step, _, loss in state.evaluations]
        sentences.append(t("Evaluation loss (fixed noise): {summary}.", summary=_curve(evaluations)))
    return " ".join(sentences)


def _curve(points: Sequence[tuple[int, float]]) -> str:
    (first_step, first), (last_step, last) = points[0], points[-1]
    lowest_step, lowest = min(points, key=lambda point: point[1])
    return t(
        "{first} at step {first_step}, {last} at step {last_step}, lowest {lowest} at step {lowest_step}",
        first=f"{first:.4f}", first_step=first_step, last=f"{last:.4f}", last_step=last_step,
        lowest=f"{lowest:.4f}", lowest_step=lowest_step,
    )  # fmt: skip


def _facts(one: Mapping[str, Any]) -> str:
    """Of a picture in a run's report: "1024 × 768 → 576 × 448, mask from its transparency"."""
    sizes = _size(one["size"]) + ("" if one["size"] == one["trained_at"] else f" → {_size(one['trained_at'])}")
    mask = {None: "", "alpha": "mask from its transparency", "file": "mask from a file"}[one["mask"]]
    if mask and not one["mask_counts"]:
        mask = "a mask that is the same everywhere, so not used"
    repeats = f"{one['repeats']} times as often" if one["repeats"] > 1 else ""
    return ", ".join(part for part in (sizes, mask, repeats) if part)


def _size(size: Sequence[int]) -> str:
    return f"{size[0]} × {size[1]}"


def _files(state: RunState) -> list[str]:
    return [f"Written to {state.result}"] if state.result and not state.active else []
