"""The fields of an embedding's notes and the widgets that show them: one table, each field once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

if TYPE_CHECKING:
    from train_embedding.services.sidecars import Notes


@dataclass(frozen=True)
class NoteField:
    name: str
    "The field of Notes; its widget's id is `te_library_` and this."
    label: str
    info: str = ""
    lines: int = 1
    number: bool = False

    def make(self) -> Any:
        common = {"label": self.label, "info": self.info or None, "elem_id": f"te_library_{self.name}"}
        return gr.Number(0, **common) if self.number else gr.Textbox("", lines=self.lines, **common)


NOTES = (
    NoteField("description", "Description", "Also shown on the host's cards.", lines=2),
    NoteField("activation_text", "Activation text", "Written into the prompt with the embedding."),
    NoteField("negative_text", "Negative text", "Written into the negative prompt at the same time."),
    NoteField("preferred_weight", "Preferred weight", "As in (name:1.2); 0: none.", number=True),
    NoteField("sd_version", "Model family", "What it is for: SD1, SD2, SDXL."),
    NoteField("notes", "Notes", "For yourself.", lines=3),
)


def notes_values(notes: Notes) -> dict[str, Any]:
    """What the widgets show."""
    return {field.name: getattr(notes, field.name) or (0 if field.number else "") for field in NOTES}


def notes_changes(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the service takes; an empty number means none."""
    return {field.name: float(values[field.name] or 0) if field.number else values[field.name] or "" for field in NOTES}
