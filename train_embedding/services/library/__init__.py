"""The library: create, list, read, save, rename, copy, delete, import and export embeddings."""

from train_embedding.services.library.create import STARTS
from train_embedding.services.library.export import PROGRAMS, Wanted
from train_embedding.services.library.library import Budget, Created, Entry, Imported, Library, Trashed

__all__ = ["PROGRAMS", "STARTS", "Budget", "Created", "Entry", "Imported", "Library", "Trashed", "Wanted"]
