"""The library: create, list, read, save, rename, copy, delete, import and export embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from train_embedding.lazy import lazy_names

if TYPE_CHECKING:
    from train_embedding.embeddings.create import STARTS
    from train_embedding.embeddings.programs import PROGRAMS
    from train_embedding.services.library.export import Wanted
    from train_embedding.services.library.library import Budget, Created, Entry, Imported, Library, Trashed
    from train_embedding.services.library.shares import SHARES

__all__ = ["PROGRAMS", "SHARES", "STARTS", "Budget", "Created", "Entry", "Imported", "Library", "Trashed", "Wanted"]

__getattr__ = lazy_names(
    {
        "Budget": "train_embedding.services.library.library",
        "Created": "train_embedding.services.library.library",
        "Entry": "train_embedding.services.library.library",
        "Imported": "train_embedding.services.library.library",
        "Library": "train_embedding.services.library.library",
        "PROGRAMS": "train_embedding.embeddings.programs",
        "SHARES": "train_embedding.services.library.shares",
        "STARTS": "train_embedding.embeddings.create",
        "Trashed": "train_embedding.services.library.library",
        "Wanted": "train_embedding.services.library.export",
    }
)
