"""The file that a run goes on from, to the same bits as if it had never been interrupted."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from train_embedding.embeddings.storage import write_atomically
from train_embedding.engine.latents import EncodedPicture
from train_embedding.engine.state import TrainState
from train_embedding.errors import Conflict, UnreadableFile

RESUME_FILE = "resume.pt"
_VERSION = 1


def save_resume(file: Path, state: TrainState, circumstances: Mapping[str, str]) -> None:
    """Writes the state, all of it or nothing. circumstances: what must be the same when the run goes on. Raises StorageFailed."""
    data = io.BytesIO()
    torch.save({"version": _VERSION, "circumstances": dict(circumstances), "state": state.to_saved()}, data)
    write_atomically(file, data.getvalue())


def load_resume(file: Path, state: TrainState, circumstances: Mapping[str, str]) -> None:
    """Brings a new state to where the run was saved.

    circumstances: those of now, as `save_resume` takes them. Raises UnreadableFile for a damaged file and Conflict when
    something differs that the result depends on, naming it.
    """
    saved = _read(file)
    before = saved["circumstances"]
    changed = [name for name in {**circumstances, **before} if circumstances.get(name) != before.get(name)]
    if changed:
        raise Conflict(
            f"The run cannot go on as it began: {' and '.join(changed)} changed since.",
            "Put that back, or start a new run, which goes on from the embedding's vectors.",
        )
    try:
        state.load(saved["state"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UnreadableFile(f'"{file.name}" does not fit the run: {type(error).__name__}.') from error


def pictures_digest(pictures: Iterable[EncodedPicture]) -> str:
    """SHA-256 over what a run takes from its pictures: latents, masks, words, and how often each comes."""
    digest = hashlib.sha256()
    for one in pictures:
        digest.update(json.dumps([one.picture.name, one.picture.words, one.picture.target, one.picture.repeats]).encode())
        for moments in (one.moments, one.mirrored):
            for tensor in () if moments is None else (moments.mean, moments.std):
                digest.update(tensor.contiguous().numpy().tobytes())
        if one.mask is not None:
            digest.update(one.mask.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _read(file: Path) -> dict[str, Any]:
    try:
        saved = torch.load(io.BytesIO(file.read_bytes()), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises its own kinds for damaged files
        raise UnreadableFile(f'"{file.name}" cannot be read: {type(error).__name__}.') from error
    if not isinstance(saved, dict) or saved.get("version") != _VERSION:
        raise UnreadableFile(f'"{file.name}" was not saved by this version.')
    return saved
