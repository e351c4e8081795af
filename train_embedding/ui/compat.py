"""What differs between gradio 3.41, 4.40 and 6."""

from __future__ import annotations

from typing import Any

import gradio as gr

MAJOR = int(gr.__version__.split(".")[0])
UNLISTED: dict[str, Any] = {"api_visibility": "private"} if MAJOR >= 6 else {"api_name": False}
"Keeps an event out of the list of functions that gradio offers to programs; ours is the HTTP API."
AT_ONCE: dict[str, Any] = {"queue": False, "show_progress": "hidden", **UNLISTED}
"Arguments of an event that answers without waiting in gradio's queue, which a host fills with pictures being made."


def javascript(code: str) -> dict[str, Any]:
    """The argument that names an event's script."""
    return {"js" if MAJOR >= 4 else "_js": code}


def line_plot(**arguments: Any) -> gr.LinePlot:
    """Later versions fill the column by themselves. gradio 3 wants a width, which style.css stretches, and puts the label
    over the plot."""
    older: dict[str, Any] = {"width": 520, "show_label": False}
    return gr.LinePlot(**arguments) if MAJOR >= 4 else gr.LinePlot(**arguments, **older)


def gallery(**arguments: Any) -> gr.Gallery:
    """Pictures without loss, in as many columns as asked for: later versions would send WebP and stretch a single picture."""
    newer: dict[str, Any] = {"format": "png"} if MAJOR >= 4 else {}
    newest: dict[str, Any] = {"fit_columns": False} if MAJOR >= 6 else {}
    return gr.Gallery(**arguments, **newer, **newest)
