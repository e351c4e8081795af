"""The progress of the current or the last run: the bar, the curves, the previews and the images that were used."""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.errors import NotFound, UnreadableFile
from train_embedding.services import sidecars
from train_embedding.translations import t
from train_embedding.ui import html
from train_embedding.ui.gradio_compat import gallery, line_plot, plot_update

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.services.training import RunState

logger = logging.getLogger(__name__)

SHOWN_PREVIEWS = 12
"Number of previews in the gallery: the first and the newest."
STEP, LOSS, CURVE = "step", "loss", "curve"
"Columns of the plot's table."


@dataclass(frozen=True)
class RunProgress:
    """The widgets."""

    bar: gr.HTML
    plot: gr.LinePlot
    gallery: gr.Gallery
    images: gr.HTML


def build() -> RunProgress:
    """Add the widgets to the Blocks being built."""
    return RunProgress(
        bar=gr.HTML(html.progress(None), elem_id="te_train_progress"),
        plot=line_plot(
            x=STEP, y=LOSS, color=CURVE, x_title=t("Step"), y_title=t("Loss"), color_title=t("Curve"), label=t("Loss"),
            elem_id="te_train_plot",
        ),
        gallery=gallery(label=t("Previews"), columns=4, height=240, object_fit="contain", elem_id="te_train_gallery"),
        images=gr.HTML("", elem_id="te_train_pictures"),
    )  # fmt: skip


def parts(services: Services, on: RunProgress, state: RunState | None) -> dict[str, tuple[Any, Callable[[], dict[Any, Any]]]]:
    """Return what a page shows of a run: for each part, its version and a function that makes its updates."""
    bar = html.progress(state)
    return {
        "progress": (bar, lambda: {on.bar: bar}),
        "plot": (_newest_points(state), lambda: {on.plot: plot_update(_frame(state), _colors(state))}),
        "gallery": (state.previews if state else (), lambda: {on.gallery: _previews(state)}),
        "images": (_run_with_images(state), lambda: {on.images: _image_report(services, state)}),
    }


def _newest_points(state: RunState | None) -> tuple[object, ...]:
    return (*state.losses[-1:], *state.evaluations[-1:], ("saved", _saved_step(state))) if state else ()


def _saved_step(state: RunState) -> int | None:
    """Return the step whose vectors the embedding has, once the run has ended; None for that of the start, which has no loss."""
    return None if state.active else state.saved_step or None


def _colors(state: RunState | None) -> dict[str, str]:
    """Return the color of each curve."""
    curves = {t(html.TRAINING_LOSS): "#3b82f6", t(html.EVALUATION_LOSS): "#f97316"}
    saved = None if state is None else _saved_step(state)
    return curves if saved is None else {**curves, t("Saved step {step}", step=saved): "#dc2626"}


def _frame(state: RunState | None) -> Any:
    """Return the losses and the saved step as a DataFrame for the plot; None, an empty plot, before the first."""
    if state is None or not (state.losses or state.evaluations):
        return None
    points = [(step, loss, t(html.TRAINING_LOSS)) for step, loss in state.losses]
    points += [(step, loss, t(html.EVALUATION_LOSS)) for step, _, loss in state.evaluations]
    saved = _saved_step(state)
    if saved is not None:  # a vertical line
        losses = [loss for _, loss, _ in points]
        points += [(saved, height, t("Saved step {step}", step=saved)) for height in (min(losses), max(losses))]
    pandas: Any = importlib.import_module("pandas")  # only here, because it takes a second
    return pandas.DataFrame(points, columns=[STEP, LOSS, CURVE])


def _run_with_images(state: RunState | None) -> str:
    """Return the id of the run if its images have been read, as far as its status tells; else an empty string."""
    return state.id if state is not None and state.status not in ("queued", "preparing") else ""


def _image_report(services: Services, state: RunState | None) -> str:
    if not _run_with_images(state):
        return ""
    assert state is not None
    try:
        return html.image_report(services.runs.images(state.id)) + html.start_words(state.start_words)
    except NotFound:  # the run ended before its images were read
        return ""


def _previews(state: RunState | None) -> list[tuple[Any, str]]:
    """Load the previews, because hosts serve files from few folders only; return each with its caption."""
    files = list(state.previews) if state else []
    chosen = files if len(files) <= SHOWN_PREVIEWS else [files[0], *files[1 - SHOWN_PREVIEWS :]]
    loaded = [(_load(file), _caption(file)) for file in chosen]
    return [(image, caption) for image, caption in loaded if image is not None]


def _load(file: Path) -> Any:
    """Load an image; None if it was removed or changed by someone."""
    try:
        return sidecars.decode_preview(sidecars.read_preview(file)).convert("RGB")
    except (OSError, UnreadableFile) as problem:
        logger.info("The preview %s is not shown: %s", file, problem)
        return None


def _caption(file: Path) -> str:
    number = re.search(r"(\d+)(?:-\d+)?$", file.stem)
    return t("step {step}", step=int(number[1])) if number else file.stem
