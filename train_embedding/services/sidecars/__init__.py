"""The files that belong to an embedding: notes, previews, and images from untrusted sources."""

from train_embedding.services.sidecars.notes import NOTE_FIELDS, NoteField, Notes
from train_embedding.services.sidecars.untrusted_images import decode_preview, read_preview

__all__ = ["NOTE_FIELDS", "NoteField", "Notes", "decode_preview", "read_preview"]
