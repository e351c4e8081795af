"""The file that a run resumes from, bit-identical to a run that was never interrupted.

It is not a pickle: hosts replace `torch.load` by functions of their own, and no file of ours needs to run code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from train_embedding.embeddings.formats.containers import torch_file
from train_embedding.embeddings.storage import write_atomically
from train_embedding.engine.data.latents import EncodedImage
from train_embedding.engine.training import nested_values
from train_embedding.engine.training.state import TrainState
from train_embedding.errors import Conflict, UnreadableFile

RESUME_FILE = "resume.safetensors"
OLDER_FILE = "resume.pt"
"What earlier versions wrote: a pickle of torch's, read as plain data."
_VERSION = 1
_HINT = "Start a new run: it continues from the embedding's vectors."


def save_resume(folder: Path, state: TrainState, circumstances: Mapping[str, str]) -> None:
    """Write the state into a run's folder, all of it or nothing.

    Args:
        folder: Of the run.
        state: What the next step depends on.
        circumstances: What must be the same when the run is resumed.

    Raises:
        StorageFailed: When it cannot be written.
    """
    saved = {"version": _VERSION, "circumstances": dict(circumstances), "state": state.to_saved()}
    write_atomically(folder / RESUME_FILE, nested_values.to_bytes(saved))


def load_resume(folder: Path, state: TrainState, circumstances: Mapping[str, str]) -> None:
    """Bring a new state to where the run in the folder was saved last; leave it as it is where nothing was saved.

    Args:
        folder: Of the run.
        state: Changed in place.
        circumstances: Those of now, as `save_resume` takes them.

    Raises:
        UnreadableFile: For a damaged file.
        Conflict: When something differs that the result depends on; the message names it.
    """
    file = next((folder / name for name in (RESUME_FILE, OLDER_FILE) if (folder / name).exists()), None)
    if file is None:
        return
    saved = read_resume(file)
    before = saved["circumstances"]
    changed = [name for name in {**circumstances, **before} if circumstances.get(name) != before.get(name)]
    if changed:
        raise Conflict(
            f"The run cannot go on as it began: {' and '.join(changed)} changed since.",
            "Put that back, or start a new run, which goes on from the embedding's vectors.",
        )
    try:
        state.load(saved["state"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UnreadableFile(f'"{file.name}" does not fit the run: {type(error).__name__}.', _HINT) from error


def read_resume(file: Path) -> dict[str, Any]:
    """Read what was saved: its version, the circumstances and the state, as `TrainState.to_saved` gave it.

    Raises:
        UnreadableFile: For a damaged file.
    """
    try:
        data = file.read_bytes()
        saved = nested_values.from_bytes(data) if file.name == RESUME_FILE else torch_file.read_nested(data, file.name)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UnreadableFile(f'"{file.name}" cannot be read: {reason}.', _HINT) from error
    values = cast("dict[str, Any]", saved) if isinstance(saved, dict) else {}
    if values.get("version") != _VERSION or not isinstance(values.get("circumstances"), dict) or "state" not in values:
        raise UnreadableFile(f'"{file.name}" was not saved by this version.', _HINT)
    return values


def dataset_digest(images: Iterable[EncodedImage]) -> str:
    """Compute the SHA-256 of what a run takes from its images: latents, masks, captions and repeats."""
    digest = hashlib.sha256()
    for encoded in images:
        image = encoded.image
        digest.update(json.dumps([image.name, image.caption, image.target, image.repeats]).encode())
        for moments in (encoded.moments, encoded.mirrored):
            for tensor in () if moments is None else (moments.mean, moments.std):
                digest.update(tensor.contiguous().numpy().tobytes())
        if encoded.mask is not None:
            digest.update(encoded.mask.contiguous().numpy().tobytes())
    return digest.hexdigest()
