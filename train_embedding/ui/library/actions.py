"""What the buttons beside the chosen embedding do to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train_embedding.errors import NotFound
from train_embedding.services.sidecars import NOTE_FIELDS, read_preview
from train_embedding.ui.library.details import run_of
from train_embedding.ui.library.notes import notes_changes

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.services.library import Entry

Action = Callable[..., tuple[Any, ...]]
"""Takes the services, the chosen embedding and the values of the button's widgets; gives the embedding to show then, and the
sentences to say. Raises what the library's method of that name raises."""


def save_notes(services: Services, entry: Entry, *values: Any) -> tuple[Entry, str]:
    """values: of the widgets for `NOTE_FIELDS`, in that order."""
    changes = notes_changes({field.name: value for field, value in zip(NOTE_FIELDS, values, strict=True)})
    return services.library.set_notes(entry.name, changes, entry.path), "The notes are saved."


def sanitize(services: Services, entry: Entry) -> tuple[Entry, str]:
    saved = services.library.sanitize(entry.name, entry.path)
    return saved, f"{entry.name} holds nothing but its vectors now; the old file is in the trash."


def rename(services: Services, entry: Entry, new_name: str) -> tuple[Entry, str]:
    return services.library.rename(entry.name, new_name, entry.path), f"{entry.name} is now called {new_name}."


def copy(services: Services, entry: Entry, new_name: str) -> tuple[Entry, str]:
    return services.library.copy(entry.name, new_name, entry.path), f"{new_name} is a copy of {entry.name}."


def set_picture(services: Services, entry: Entry, file: Any) -> tuple[Entry, str]:
    """file: as gradio hands over an upload, a path or an object that has one as its name."""
    path = Path(file if isinstance(file, str) else file.name)
    return services.library.set_preview(entry.name, read_preview(path), entry.path), "The picture is set."


def take_run(services: Services, entry: Entry, run: str | None) -> tuple[Entry, str]:
    """run: a label of `details.run_label`. Raises NotFound without one."""
    if not run:
        raise NotFound("No run is chosen.", "Choose one that has drawn previews.")
    return services.library.preview_from_run(entry.name, run_of(run), entry.path), "The picture is set."


def draw_preview(services: Services, entry: Entry, prompt: str) -> tuple[Entry, str]:
    return services.library.draw_preview(entry.name, prompt, entry.path), "The picture is drawn."
