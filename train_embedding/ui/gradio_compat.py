"""Differences between gradio 3.41, 4.40 and 6."""

from __future__ import annotations

import inspect
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import gradio as gr

from train_embedding.messages import msg
from train_embedding.translations import Language, bind, current_language, translate

MAJOR = int(gr.__version__.split(".")[0])
UNLISTED: dict[str, Any] = {"api_visibility": "private"} if MAJOR >= 6 else {"api_name": False}
"Keeps an event out of gradio's own API, because programs use the HTTP API of Train Embedding."
AT_ONCE: dict[str, Any] = {"queue": False, "show_progress": "hidden", **UNLISTED}
"Arguments of an event that does not wait in gradio's queue, where a host's image generation may take long."


QUEUE: dict[str, Any] = {"default_concurrency_limit" if MAJOR >= 4 else "concurrency_count": 16, "max_size": 64}
"""Arguments of the app's queue. More events may run at once than may wait for the model: one too many then fails at once in its
own handler, and events that do not use the model are not blocked."""

CACHE: dict[str, Any] = {"delete_cache": (3600, 24 * 3600)} if MAJOR >= 4 else {}
"Arguments of the app's Blocks: once an hour, delete uploaded and shown files that are a day old."


def javascript(code: str) -> dict[str, Any]:
    """Return the argument that sets an event's script."""
    return {"js" if MAJOR >= 4 else "_js": code}


def event_of_leaving(field: Any) -> Any:
    """Return the event that happens when a field is left; for a gr.Number of gradio 4.40, which has none, that of every input."""
    return field.blur if hasattr(field, "blur") else field.input


def line_plot(*, color_title: str, **arguments: Any) -> gr.LinePlot:
    """Make a LinePlot that fills its column.

    Args:
        color_title: Title of the legend, whose argument has another name in each version.
        arguments: As in every version.
    """
    parameters = inspect.signature(gr.LinePlot).parameters
    arguments["color_title" if "color_title" in parameters else "color_legend_title"] = color_title
    # A label would cover the plot in gradio 3, and cut off the legend later. gradio 3 needs a width, which style.css stretches.
    older: dict[str, Any] = {"width": 480, "height": 200, "color_legend_position": "bottom"}
    newer: dict[str, Any] = {"height": 230 if MAJOR < 6 else 280}  # gradio 4.40 draws 200 pixels, whatever the height is
    return gr.LinePlot(**arguments, show_label=False, **(newer if MAJOR >= 4 else older))


def plot_update(value: Any, colors: Mapping[str, str]) -> Any:
    """Make the update of a LinePlot.

    Args:
        value: The DataFrame.
        colors: Color by curve. gradio 6 draws curves that were not in the first data only if another argument changes too.
    """
    known: dict[str, Any] = {"color_map": dict(colors)} if "color_map" in inspect.signature(gr.LinePlot).parameters else {}
    return gr.update(value=value, **known)


def gallery(**arguments: Any) -> gr.Gallery:
    """Make a Gallery of lossless images in the given columns; later versions would send WebP and stretch a single image."""
    newer: dict[str, Any] = {"format": "png"} if MAJOR >= 4 else {}
    newest: dict[str, Any] = {"fit_columns": False} if MAJOR >= 6 else {}
    return gr.Gallery(**arguments, **newer, **newest)


def dropdown(choices: Sequence[tuple[str, str]], value: str, **arguments: Any) -> gr.Dropdown:
    """Make a Dropdown that shows labels and passes values to handlers. gradio 3 has no labels, so they are converted here.

    Args:
        choices: Labels and values.
        value: The selected value.
        arguments: As in every version.
    """
    if MAJOR >= 4:
        return gr.Dropdown(choices=cast("Any", list(choices)), value=value, **arguments)
    values = dict(choices)
    labels = {value: label for label, value in choices}
    older = gr.Dropdown(choices=list(values), value=labels[value], **arguments)

    def value_of(label: str | None) -> str | None:
        return values.get(label, label) if label else label

    def label_of(value: str | None) -> str | None:
        return value if value is None else labels.get(value, value)

    setattr(older, "preprocess", value_of)  # noqa: B010
    setattr(older, "postprocess", label_of)  # noqa: B010
    return older


def upload_button(*arguments: Any, **more: Any) -> gr.UploadButton:
    """Make an UploadButton that accepts uploaded files only.

    gradio 3 reads any path that a request names in place of an upload; gradio 4 also fetches any address.
    """
    button = gr.UploadButton(*arguments, **more)
    preprocess, language = button.preprocess, current_language()

    def preprocess_uploads(value: Any) -> Any:
        for path in _named_paths(value):
            _check_uploaded(path, language)
        return preprocess(value)

    async def keep_uploads(path: str | Path | None) -> str | None:
        return None if path is None else _check_uploaded(str(path), language)

    setattr(button, "preprocess", preprocess_uploads)  # noqa: B010
    setattr(button, "async_move_resource_to_block_cache", keep_uploads)  # noqa: B010
    return button


def upload_folder() -> Path:
    """Return the folder where gradio stores uploads."""
    return Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio").resolve()


def bind_language(blocks: gr.Blocks, language: Language) -> None:
    """Make every handler of a page work in one language."""
    fns = cast("Any", blocks).fns  # a list in gradio 3, a dictionary later
    for function in list(fns.values()) if hasattr(fns, "values") else fns:
        if function.fn is not None:
            function.fn = bind(function.fn, language)


def _check_uploaded(path: str, language: Language) -> str:
    if upload_folder() not in Path(path).resolve().parents:
        raise gr.Error(translate(msg("Only uploaded files are accepted. Select the file again."), language))
    return path


def _named_paths(value: Any) -> Iterator[str]:
    """Yield the paths in the uploads of a request: dictionaries in gradio 3, objects later; None, one, or several."""
    value = getattr(value, "root", value)
    if isinstance(value, list | tuple):
        for item in cast("list[Any]", value):
            yield from _named_paths(item)
    elif isinstance(value, dict):
        names = cast("dict[str, Any]", value)
        yield str(names.get("name") or names.get("path") or "")
    elif value is not None:
        yield str(value.path)
