"""Files that are uploaded from the browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from train_embedding.services import datasets

if TYPE_CHECKING:
    from train_embedding.services.datasets import Upload


def read_uploads(files: Any, names: str) -> list[Upload]:
    """Return the uploaded files with the names that they have in the browser, as far as the script has sent these."""
    paths = [Path(file if isinstance(file, str) else file.name) for file in files or ()]
    try:
        told: Any = json.loads(names)
    except ValueError:
        told = None
    known = [str(name) for name in cast("list[Any]", told)] if isinstance(told, list) else []
    if len(known) != len(paths):
        known = [path.name for path in paths]
    return [datasets.Upload(name, path) for name, path in zip(known, paths, strict=True)]
