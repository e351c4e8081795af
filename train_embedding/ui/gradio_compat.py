"""What differs between gradio 3.41, 4.40 and 6."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import gradio as gr

from train_embedding.translations import Language, bind

MAJOR = int(gr.__version__.split(".")[0])
UNLISTED: dict[str, Any] = {"api_visibility": "private"} if MAJOR >= 6 else {"api_name": False}
"Keeps an event out of the list of functions that gradio offers to programs; ours is the HTTP API."
AT_ONCE: dict[str, Any] = {"queue": False, "show_progress": "hidden", **UNLISTED}
"Arguments of an event that answers without waiting in gradio's queue, which a host fills with pictures being made."


QUEUE: dict[str, Any] = {"default_concurrency_limit" if MAJOR >= 4 else "concurrency_count": 16, "max_size": 64}
"""Arguments of the app's queue. More run at once than may wait for the model, so that one too many is told so by its own handler
at once, and what needs no model waits for no image."""

CACHE: dict[str, Any] = {"delete_cache": (3600, 24 * 3600)} if MAJOR >= 4 else {}
"Arguments of the app's Blocks: what was uploaded and shown a day ago is deleted every hour."


def javascript(code: str) -> dict[str, Any]:
    """The argument that names an event's script."""
    return {"js" if MAJOR >= 4 else "_js": code}


def line_plot(**arguments: Any) -> gr.LinePlot:
    """Later versions fill the column by themselves. gradio 3 wants a width, which style.css stretches, and puts the label
    over the plot."""
    older: dict[str, Any] = {"width": 420, "height": 200, "show_label": False, "color_legend_position": "bottom"}
    return gr.LinePlot(**arguments, height=280) if MAJOR >= 4 else gr.LinePlot(**arguments, **older)


def gallery(**arguments: Any) -> gr.Gallery:
    """Pictures without loss, in as many columns as asked for: later versions would send WebP and stretch a single picture."""
    newer: dict[str, Any] = {"format": "png"} if MAJOR >= 4 else {}
    newest: dict[str, Any] = {"fit_columns": False} if MAJOR >= 6 else {}
    return gr.Gallery(**arguments, **newer, **newest)


def upload_button(*arguments: Any, **more: Any) -> gr.UploadButton:
    """An UploadButton that takes nothing but what was uploaded.

    gradio 3 reads any path that a request names in place of an upload; gradio 4 also fetches any address.
    """
    button = gr.UploadButton(*arguments, **more)
    preprocess = button.preprocess

    def preprocess_uploads(value: Any) -> Any:
        for path in _named_paths(value):
            _check_uploaded(path)
        return preprocess(value)

    async def keep_uploads(path: str | Path | None) -> str | None:
        return None if path is None else _check_uploaded(str(path))

    setattr(button, "preprocess", preprocess_uploads)  # noqa: B010
    setattr(button, "async_move_resource_to_block_cache", keep_uploads)  # noqa: B010
    return button


def upload_folder() -> Path:
    """Where gradio puts what is uploaded."""
    return Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio").resolve()


def bind_language(blocks: gr.Blocks, language: Language) -> None:
    """Make every handler of a page work in one language."""
    fns = cast("Any", blocks).fns  # a list in gradio 3, a dictionary later
    for function in list(fns.values()) if hasattr(fns, "values") else fns:
        if function.fn is not None:
            function.fn = bind(function.fn, language)


def _check_uploaded(path: str) -> str:
    folder = upload_folder()
    if folder not in Path(path).resolve().parents:
        raise gr.Error("Only uploaded files can be taken. Choose the file again.")
    return path


def _named_paths(value: Any) -> Iterator[str]:
    """The paths in what a request gives as uploads: dictionaries in gradio 3, objects later; None, one, or several."""
    value = getattr(value, "root", value)
    if isinstance(value, list | tuple):
        for item in cast("list[Any]", value):
            yield from _named_paths(item)
    elif isinstance(value, dict):
        names = cast("dict[str, Any]", value)
        yield str(names.get("name") or names.get("path") or "")
    elif value is not None:
        yield str(value.path)
