"""The Python API's entry point: everything the package does, over one data folder and one checkpoint."""

from __future__ import annotations

import os
from pathlib import Path

from train_embedding.hosts.standalone import StandaloneHost
from train_embedding.services import Services


def open_workspace(
    folder: str | os.PathLike[str] = "train-embedding-data", checkpoint: str | os.PathLike[str] | None = None
) -> Services:
    """Open a data folder for creating, training and managing embeddings without a WebUI.

    Nothing is downloaded. The checkpoint is read when it is first needed, onto the GPU if there is one.

    Args:
        folder: Where embeddings, runs and caption templates are kept; created if it does not exist.
        checkpoint: A `.safetensors` or `.ckpt` file, or a diffusers folder. Defaults to the demo checkpoint in the package.

    Returns:
        The services: `library` (create, list, read, save, import, export), `runs` (train, stop, resume), `inspection`,
        `combining` and `datasets`. `host` is the stand-alone host behind them.

    Raises:
        StorageFailed: The folder cannot be created.
    """
    return Services(StandaloneHost(Path(folder), None if checkpoint is None else Path(checkpoint)))
