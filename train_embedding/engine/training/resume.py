"""The file from which a run is resumed, with a result that is bit-identical to that of an uninterrupted run.

It is not a pickle: hosts replace `torch.load`, and the file does not need to run code.
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
from train_embedding.messages import joined, msg

RESUME_FILE = "resume.safetensors"
OLDER_FILE = "resume.pt"
"File of earlier versions: a pickle of torch, read as plain data."
_VERSION = 1
_HINT = msg("Start a new run to continue from the embedding's vectors.")
_LABELS = {
    "the number of processes": msg("the number of processes"),
    "the pictures or their captions": msg("the images or their captions"),
    "the checkpoint": msg("the checkpoint"),
    "the clip skip setting": msg("the clip skip setting"),
    "the device": msg("the device"),
}
"Names of the circumstances in messages, by the names in saved files."


def save_resume(folder: Path, state: TrainState, circumstances: Mapping[str, str]) -> None:
    """Save the state of a run to its folder, atomically.

    Args:
        folder: Folder of the run.
        state: State between two steps.
        circumstances: Values by name that must be the same when the run is resumed.

    Raises:
        StorageFailed: The file cannot be written.
    """
    saved = {"version": _VERSION, "circumstances": dict(circumstances), "state": state.to_saved()}
    write_atomically(folder / RESUME_FILE, nested_values.to_bytes(saved))


def load_resume(folder: Path, state: TrainState, circumstances: Mapping[str, str]) -> None:
    """Restore the saved state of a run. Without a saved state, nothing changes.

    Args:
        folder: Folder of the run.
        state: A new state of the same run, changed in place.
        circumstances: The current values, as for `save_resume`.

    Raises:
        UnreadableFile: The file is damaged.
        Conflict: The circumstances have changed; the message names them.
    """
    file = next((folder / name for name in (RESUME_FILE, OLDER_FILE) if (folder / name).exists()), None)
    if file is None:
        return
    saved = read_resume(file)
    before = saved["circumstances"]
    changed = [name for name in {**circumstances, **before} if circumstances.get(name) != before.get(name)]
    if changed:
        raise Conflict(
            msg(
                "The run cannot be resumed, because this has changed: {names}.",
                names=joined(_LABELS.get(name, name) for name in changed),
            ),
            msg("Change it back, or start a new run to continue from the embedding's vectors."),
        )
    try:
        state.load(saved["state"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UnreadableFile(
            msg('"{file}" does not fit the run: {reason}.', file=file.name, reason=type(error).__name__), _HINT
        ) from error


def read_resume(file: Path) -> dict[str, Any]:
    """Read a saved state.

    Returns:
        The version, the circumstances, and the state as `TrainState.to_saved` returned it.

    Raises:
        UnreadableFile: The file is damaged.
    """
    try:
        data = file.read_bytes()
        saved = nested_values.from_bytes(data) if file.name == RESUME_FILE else torch_file.read_nested(data, file.name)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error.args[0]
        raise UnreadableFile(msg('"{name}" cannot be read: {reason}.', name=file.name, reason=reason), _HINT) from error
    values = cast("dict[str, Any]", saved) if isinstance(saved, dict) else {}
    if values.get("version") != _VERSION or not isinstance(values.get("circumstances"), dict) or "state" not in values:
        raise UnreadableFile(msg('"{file}" was saved by another version of Train Embedding.', file=file.name), _HINT)
    return values


def dataset_digest(images: Iterable[EncodedImage]) -> str:
    """Compute the SHA-256 of everything that a run uses of its images: latents, masks, captions and repeats."""
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
