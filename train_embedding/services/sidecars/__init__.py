"""Files that belong to an embedding: notes and preview images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from train_embedding.lazy import lazy_names

if TYPE_CHECKING:
    from train_embedding.services.sidecars.notes import NOTE_FIELDS, NoteField, Notes
    from train_embedding.services.sidecars.untrusted_images import decode_preview, read_preview

__all__ = ["NOTE_FIELDS", "NoteField", "Notes", "decode_preview", "read_preview"]

__getattr__ = lazy_names(
    {
        "NOTE_FIELDS": "train_embedding.services.sidecars.notes",
        "NoteField": "train_embedding.services.sidecars.notes",
        "Notes": "train_embedding.services.sidecars.notes",
        "decode_preview": "train_embedding.services.sidecars.untrusted_images",
        "read_preview": "train_embedding.services.sidecars.untrusted_images",
    }
)
