"""Files that belong to an embedding: notes and preview images."""

from train_embedding.services.sidecars.notes import NOTE_FIELDS, NoteField, Notes
from train_embedding.services.sidecars.untrusted_images import decode_preview, read_preview

__all__ = ["NOTE_FIELDS", "NoteField", "Notes", "decode_preview", "read_preview"]
