"""The widgets for the fields of an embedding's notes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.services.sidecars import NOTE_FIELDS
from train_embedding.translations import translate

if TYPE_CHECKING:
    from train_embedding.services.sidecars import NoteField, Notes


def build_notes() -> dict[str, Any]:
    """Make one widget per field, by the field's name; its id is `te_library_` and that name."""
    return {field.name: _widget(field) for field in NOTE_FIELDS}


def notes_values(notes: Notes) -> dict[str, Any]:
    """Return the values that the widgets show."""
    return {field.name: getattr(notes, field.name) or (0 if field.is_number else "") for field in NOTE_FIELDS}


def notes_changes(values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the values of the widgets to what the service takes; an empty number becomes 0."""
    return {field.name: float(values[field.name] or 0) if field.is_number else values[field.name] or "" for field in NOTE_FIELDS}


def _widget(field: NoteField) -> Any:
    common: dict[str, Any] = {
        "label": translate(field.label),
        "info": translate(field.help),
        "elem_id": f"te_library_{field.name}",
    }
    return gr.Number(0, **common) if field.is_number else gr.Textbox("", lines=field.lines, **common)
