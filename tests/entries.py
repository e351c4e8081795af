"""Entries of a library for tests of what shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from train_embedding.services.library.library import Entry
from train_embedding.services.sidecars.notes import Notes

ROOT = Path("/embeddings")


def entry(**changes: Any) -> Entry:
    """A loaded SD1 embedding; its file follows from name and folder."""
    values: dict[str, Any] = {
        "name": "my-cat", "family": "SD1", "vectors": 2, "widths": {"clip_l": 768}, "step": 400, "checkpoint": "v1-5",
        "loaded": True, "reason": "", "preview": None, "folder": "", "format": "webui", "size": 3456, "hash": "0123456789",
        "modified": 0.0, "sidecars": (), "notes": Notes(), "warnings": (), **changes,
    }  # fmt: skip
    return Entry(**{"file": ROOT / values["folder"] / f"{values['name']}.pt", **values})
