"""Importing files into the library: read, checked and normalised before a host could load them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from train_embedding.lazy import lazy_names

if TYPE_CHECKING:
    from train_embedding.services.importing.sources import read_upload

__all__ = ["read_upload"]

__getattr__ = lazy_names(
    {
        "read_upload": "train_embedding.services.importing.sources",
    }
)
