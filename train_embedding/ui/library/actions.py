"""The actions of the buttons beside the selected embedding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train_embedding.errors import NotFound
from train_embedding.messages import Message, msg
from train_embedding.services import sidecars
from train_embedding.ui.library.details import run_of
from train_embedding.ui.library.notes import notes_changes

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.services.library import Entry

Action = Callable[..., tuple[Any, ...]]
"""Takes the services, the selected embedding and the values of the button's widgets. Returns the embedding to show, and the
messages about what was done. Raises what the library's method of that name raises."""
TRAINING_RUN = msg("Training run")
_PREVIEW_SET = msg("Preview image set.")


def save_notes(services: Services, entry: Entry, *values: Any) -> tuple[Entry, Message]:
    """Save the values of the widgets for `sidecars.NOTE_FIELDS`, given in that order."""
    changes = notes_changes({field.name: value for field, value in zip(sidecars.NOTE_FIELDS, values, strict=True)})
    return services.library.set_notes(entry.name, changes, entry.path), msg("Notes saved.")


def sanitize(services: Services, entry: Entry) -> tuple[Entry, Message]:
    """Replace an unsafe file by one that has only the vectors."""
    saved = services.library.sanitize(entry.name, entry.path)
    return saved, msg("Sanitized {name}: its file now contains only the vectors. The old file is in the trash.", name=entry.name)


def rename(services: Services, entry: Entry, new_name: str) -> tuple[Entry, Message]:
    """Rename the embedding."""
    renamed = services.library.rename(entry.name, new_name, entry.path)
    return renamed, msg("Renamed {name} to {new_name}.", name=entry.name, new_name=renamed.name)


def copy(services: Services, entry: Entry, new_name: str) -> tuple[Entry, Message]:
    """Copy the embedding under another name."""
    copied = services.library.copy(entry.name, new_name, entry.path)
    return copied, msg("Copied {name} to {new_name}.", name=entry.name, new_name=copied.name)


def set_picture(services: Services, entry: Entry, file: Any) -> tuple[Entry, Message]:
    """Make an uploaded image the preview image.

    Args:
        services: Have the library.
        entry: The embedding.
        file: The upload as gradio passes it: a path, or an object with a path as its name.
    """
    path = Path(file if isinstance(file, str) else file.name)
    return services.library.set_preview(entry.name, sidecars.read_preview(path), entry.path), _PREVIEW_SET


def take_run(services: Services, entry: Entry, run: str | None) -> tuple[Entry, Message]:
    """Make the newest preview of a run, given by its `details.run_label`, the preview image.

    Raises:
        NotFound: No run is selected, or it has no preview.
    """
    if not run:
        raise NotFound(msg("No training run is selected."), msg('Select one in "{field}".', field=TRAINING_RUN))
    return services.library.preview_from_run(entry.name, run_of(run), entry.path), _PREVIEW_SET


def draw_preview(services: Services, entry: Entry, prompt: str) -> tuple[Entry, Message]:
    """Generate the preview image from a prompt."""
    return services.library.draw_preview(entry.name, prompt, entry.path), msg("Preview image generated.")
