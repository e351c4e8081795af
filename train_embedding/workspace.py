"""Entry point of the Python API: create, train and manage embeddings in a data folder, with one checkpoint."""

from __future__ import annotations

import os
from pathlib import Path

from train_embedding.hosts.standalone import StandaloneHost
from train_embedding.services import Services


def open_workspace(
    folder: str | os.PathLike[str] = "train-embedding-data", checkpoint: str | os.PathLike[str] | None = None
) -> Services:
    """Open a data folder for creating, training and managing embeddings without a WebUI.

    Nothing is downloaded. The checkpoint is loaded when it is first needed, onto the GPU if there is one.

    Args:
        folder: The folder for embeddings, runs and caption templates; created if it does not exist.
        checkpoint: A `.safetensors` or `.ckpt` file, or a diffusers folder. Defaults to the demo checkpoint in the package.

    Returns:
        The services: `library` (create, list, read, save, import, export), `runs` (train, stop, resume), `queue`, `inspection`,
        `combining` and `datasets`. `host` is the stand-alone host that they use.

    Raises:
        StorageFailed: The folder cannot be created.
    """
    return Services(StandaloneHost(Path(folder), None if checkpoint is None else Path(checkpoint)))
