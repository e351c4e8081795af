"""Messages, progress and reports of the tab as HTML. Every value is escaped by its template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from markupsafe import Markup

from train_embedding.errors import InvalidExpression, TrainEmbeddingError
from train_embedding.messages import COLON, DOT, NOTHING, SPACE, Message, joined, msg, plural, verbatim
from train_embedding.ui.templates import render

if TYPE_CHECKING:
    from train_embedding.services.datasets import DatasetReport
    from train_embedding.services.library import Budget
    from train_embedding.services.training import RunState

MessageKind = Literal["good", "bad", "quiet"]
SHOWN_SKIPPED = 5
SHOWN_IMAGES = 100
RESUME = msg("Resume")
TRAINING_LOSS = msg("Training loss")
EVALUATION_LOSS = msg("Evaluation loss (fixed noise)")
_WAITING = {
    "queued": msg("Waiting in the queue"),
    "preparing": msg("Reading the images"),
    "stopping": msg("Stopping after this step"),
}
_ENDED = {
    "finished": msg("Finished"),
    "stopped": msg("Stopped"),
    "failed": msg("Failed"),
    "interrupted": msg("Interrupted"),
}
_MASKS = {"alpha": msg("mask from transparency"), "file": msg("mask from a file")}


def panel_title(text: Message) -> Markup:
    """Return the heading of a panel."""
    return render("panel_title", text=text)


def heading(text: Message) -> Markup:
    """Return a heading inside a panel."""
    return render("heading", text=text)


def message(kind: MessageKind, text: Message, *lines: Message) -> Markup:
    """Return a box with a sentence, and further lines below it; empty lines are left out."""
    return render("message", kind=kind, text=text, lines=lines, pointer="")


def error(problem: TrainEmbeddingError) -> Markup:
    """Return the box that shows an error; a formula is shown with a mark below the wrong column."""
    pointer = problem.pointer if isinstance(problem, InvalidExpression) else ""
    return render("message", kind="bad", text=problem.message, lines=[problem.hint], pointer=pointer)


def saved_to(file: Path) -> Message:
    """Return the line that names the file of a new embedding."""
    return msg("Saved to {file}", file=file)


def budget(value: Budget) -> Markup:
    """Return the token budget of a new embedding, in words and as a bar."""
    text = plural(
        "{count} token. The embedding uses {vectors} of the {limit} tokens of a prompt.",
        "{count} tokens. The embedding uses {vectors} of the {limit} tokens of a prompt.",
        value.tokens,
        vectors=value.vectors,
        limit=value.limit,
    )
    return render("budget", text=text, percent=min(100, round(100 * value.vectors / value.limit)))


def dataset(report: DatasetReport) -> Markup:
    """Return the counts of a dataset, as in "8 images, 5 with a text file, 1 skipped", and why files are skipped."""
    counts = [
        image_count(report.images),
        msg("{number} with a text file", number=report.captions) if report.captions else NOTHING,
        msg("{number} with a mask", number=report.masks) if report.masks else NOTHING,
        msg("{number} skipped", number=len(report.skipped)) if report.skipped else NOTHING,
    ]
    skipped = [joined([verbatim(name), reason], COLON) for name, reason in report.skipped[:SHOWN_SKIPPED]]
    more = verbatim("…") if len(report.skipped) > SHOWN_SKIPPED else NOTHING
    return message("quiet", joined(counts), *skipped, more, *report.notes)


def image_report(report: Mapping[str, Any]) -> Markup:
    """Return the images of a run, folded away: size, caption and mask of each, and why others are not used."""
    used, skipped = report["used"], report["skipped"]
    sizes = [msg("{number} at {size}", number=size["images"], size=_size(size["size"])) for size in report["sizes"]]
    title = [joined([image_count(len(used)), joined(sizes)], COLON)]
    if skipped:
        title.append(msg("{number} skipped", number=len(skipped)))
    rows = [(image["file"], _image_facts(image), image["caption"]) for image in used]
    rows += [(image["file"], image["reason"], "") for image in skipped]
    left_out = len(rows) - SHOWN_IMAGES
    more = msg("… and {number} more", number=left_out) if left_out > 0 else NOTHING
    return render("image_report", title=joined(title, DOT), rows=rows[:SHOWN_IMAGES], more=more)


def start_words(ranking: Sequence[tuple[str, float, int]]) -> Markup | str:
    """Return the words that were tried as the start of a run, folded away; an empty text if there were none."""
    if not ranking:
        return ""
    rows = [
        (
            verbatim(words) if words else msg("the embedding as it was"),
            f"{loss:.4f}",
            plural("{count} item", "{count} items", items),
        )
        for words, loss, items in ranking
    ]
    return render("start_words", title=plural("{count} start tried", "{count} starts tried", len(rows)), rows=rows)


def progress(state: RunState | None) -> Markup:
    """Return the progress bar; the script reads its data attributes."""
    if state is None:
        return render("no_progress")
    percent = 100 * state.step / state.steps if state.steps else 0
    return render("progress", run=state, text=progress_text(state), percent=f"{percent:.1f}", curves=_curves(state))


def status_name(state: RunState) -> Message:
    """Return what a run is doing, or how it ended."""
    return {**_WAITING, **_ENDED}.get(state.status, msg("Training"))


def progress_text(state: RunState) -> Message:
    """Return the progress of a run in a few words, as in "step 120 of 400 · 1:05 left · loss 0.1234"."""
    parts = [_ENDED.get(state.status, NOTHING), _WAITING.get(state.status, NOTHING)]
    if state.status not in ("queued", "preparing"):
        parts.append(msg("step {step} of {steps}", step=state.step, steps=state.steps))
    if state.active and state.eta_seconds is not None:
        parts.append(_remaining(state, state.eta_seconds))
    if state.loss is not None:
        parts.append(msg("loss {loss:.4f}", loss=state.loss))
    return joined(parts, DOT)


def run_status(state: RunState | None) -> Markup:
    """Return the result of a run: where its file is, or what went wrong. A run in progress has notes only."""
    if state is None:
        return Markup("")
    if state.status == "interrupted":
        text = msg(
            "Training {name} was interrupted at step {step} of {steps}.",
            name=state.embedding,
            step=state.step,
            steps=state.steps,
        )
        return message("quiet", text, msg('Click "{button}" to continue from the last save.', button=RESUME), *state.notes)
    if state.error:
        return message("bad", state.error, state.hint, *_saved_files(state), *state.notes)
    if state.active:
        return message("quiet", msg("Training continues when you close this page."), *state.notes)
    return message("good", _ended(state), *_saved_files(state), *state.notes)


def duration(seconds: float) -> str:
    """Return a time as "0:35", "12:05" or "1:02:03"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def trained_steps(step: int | None) -> Message:
    """Return how long an embedding was trained: "400 steps", or "untrained"."""
    return plural("{count} step", "{count} steps", step) if step else msg("untrained")


def image_count(count: int) -> Message:
    """Return a number of images in words."""
    return plural("{count} image", "{count} images", count)


def vector_count(count: int) -> Message:
    """Return a number of vectors in words."""
    return plural("{count} vector", "{count} vectors", count)


def _ended(state: RunState) -> Message:
    time = duration(state.seconds)
    if state.status == "finished":
        return plural(
            "Finished {name}: {count} step in {time}.",
            "Finished {name}: {count} steps in {time}.",
            state.step,
            name=state.embedding,
            time=time,
        )
    return plural(
        "Stopped {name} after {count} step in {time}.",
        "Stopped {name} after {count} steps in {time}.",
        state.step,
        name=state.embedding,
        time=time,
    )


def _remaining(state: RunState, seconds: float) -> Message:
    """Return the remaining time. Early stopping may double the steps if the rate falls, or else end the run at any step."""
    left = duration(seconds)
    if state.eta_at_most is not None and duration(state.eta_at_most) != left:
        return msg("{time} left, at most {longest}", time=left, longest=duration(state.eta_at_most))
    may_stop = state.spec.early_stopping and state.spec.eval_every and state.spec.lr_scheduler == "constant"
    return msg("at most {time} left", time=left) if may_stop else msg("{time} left", time=left)


def _curves(state: RunState) -> Message:
    """Return what the plot of the losses shows in words, for screen readers; empty without a loss."""
    sentences: list[Message] = []
    if state.losses:
        sentences.append(msg("{curve}: {summary}.", curve=TRAINING_LOSS, summary=_curve(state.losses)))
    if state.evaluations:
        evaluations = [(step, loss) for step, _, loss in state.evaluations]
        sentences.append(msg("{curve}: {summary}.", curve=EVALUATION_LOSS, summary=_curve(evaluations)))
    return joined(sentences, SPACE)


def _curve(points: Sequence[tuple[int, float]]) -> Message:
    (first_step, first), (last_step, last) = points[0], points[-1]
    lowest_step, lowest = min(points, key=lambda point: point[1])
    return msg(
        "{first:.4f} at step {first_step}, {last:.4f} at step {last_step}, lowest {lowest:.4f} at step {lowest_step}",
        first=first,
        first_step=first_step,
        last=last,
        last_step=last_step,
        lowest=lowest,
        lowest_step=lowest_step,
    )


def _image_facts(image: Mapping[str, Any]) -> Message:
    """Describe an image of a run's report, as in "1024 × 768 → 576 × 448, mask from transparency"."""
    crop, trained_at, repeats = image.get("crop"), _size(image["trained_at"]), image["repeats"]
    sizes = [_size(image["size"]), *([_size(crop[2:])] if crop else []), trained_at]
    mask = _MASKS.get(image["mask"], NOTHING)
    if mask and not image["mask_counts"]:
        mask = msg("uniform mask (not used)")
    return joined(
        [
            verbatim(" → ".join(dict.fromkeys(sizes))),
            mask,
            msg("used {number} times as often", number=repeats) if repeats > 1 else NOTHING,
        ]
    )


def _size(size: Sequence[int]) -> str:
    return f"{size[0]} × {size[1]}"


def _saved_files(state: RunState) -> list[Message]:
    return [saved_to(state.result)] if state.result and not state.active else []
