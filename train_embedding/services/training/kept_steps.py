"""The vectors of a run at some of its steps, so that one of them can be chosen later.

Kept are the vectors of the start, of every evaluated step, of every step with previews or a snapshot, of the last step, and those
that were saved as the embedding. If more than MAX_EVALUATED steps were evaluated, only every second of these is kept, then every
fourth, and so on. The files are small, and are deleted with the run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.metadata import VECTORS
from train_embedding.embeddings.storage import remove_file, storage_failed
from train_embedding.errors import NotFound, UnreadableFile
from train_embedding.messages import msg
from train_embedding.services.run_records import SNAPSHOTS, START_FILE, RunState, load_start

if TYPE_CHECKING:
    import torch

FOLDER = "steps"
"In a run's folder: a file with the vectors of each kept step."
MAX_EVALUATED = 100
"Largest number of evaluated steps that are kept for having been evaluated."
_KEPT = re.compile(r"(\d{7,})\.safetensors")


class KeptSteps:
    """Writes the vectors of steps to the folder of one run.

    Args:
        run_folder: The folder of the run.
    """

    def __init__(self, run_folder: Path) -> None:
        self._folder = run_folder / FOLDER

    def keep(self, step: int, embedding: Embedding) -> None:
        """Keep the vectors of a step, unless they are kept already. Raises StorageFailed."""
        from train_embedding.embeddings.formats import write_embedding

        file = _file(self._folder, step)
        if step and not file.exists():
            write_embedding(embedding, file)

    def keep_evaluated(self, step: int, embedding: Embedding, evaluated: Sequence[int], others: set[int]) -> None:
        """Keep the vectors of an evaluated step, and thin out those that are kept for having been evaluated.

        Args:
            step: The step.
            embedding: Its vectors.
            evaluated: All evaluated steps so far, in order.
            others: Steps that are kept for another reason.

        Raises:
            StorageFailed: A file cannot be written or removed.
        """
        surplus = surplus_of(evaluated) - others
        for old in surplus - {step}:
            file = _file(self._folder, old)
            try:
                remove_file(file, missing_ok=True)
            except OSError as error:
                raise storage_failed(file, error, "deleted") from error
        if step not in surplus:
            self.keep(step, embedding)


def surplus_of(evaluated: Sequence[int]) -> set[int]:
    """Return the evaluated steps that are not kept: all but every second, fourth, … so that at most MAX_EVALUATED remain."""
    stride = 1
    while len(evaluated[::stride]) > MAX_EVALUATED:
        stride *= 2
    return set(evaluated) - set(evaluated[::stride])


def kept_steps(state: RunState) -> list[int]:
    """Return the steps of a run whose vectors can be read, in order. Step 0 is the start."""
    steps = {0} if (state.folder / START_FILE).exists() else set[int]()
    own = _own_steps(state)
    steps |= own | set(_snapshots(state))
    # Earlier versions kept vectors only in the file that a run is resumed from.
    steps |= set() if own else set(_vectors_for_resuming(state))
    return sorted(steps)


def read_step(state: RunState, step: int) -> Embedding:
    """Read the vectors of a step, as the training would have written them to the embeddings folder.

    Raises:
        NotFound: The vectors of the step were not kept.
        UnreadableFile: Their file is damaged.
    """
    from train_embedding.embeddings.formats import read_embedding

    start = load_start(state)
    if step == 0 and start is not None:
        return start
    file = _file(state.folder / FOLDER, step)
    if not file.exists():
        file = _snapshots(state).get(step, file)
    if file.exists():
        embedding = read_embedding(file)
        embedding = replace(embedding, checkpoint_name=embedding.checkpoint_name or state.checkpoint or None)
    else:
        vectors = _vectors_for_resuming(state).get(step)
        if vectors is None:
            raise NotFound(
                msg('The vectors of step {step} of the run "{run}" were not kept.', step=step, run=state.id),
                msg("Choose another step, or train again."),
            )
        embedding = Embedding(state.embedding, vectors, checkpoint_name=state.checkpoint or None)
    before = (start.step or 0) if start is not None else 0
    metadata = {**(start.metadata if start is not None else {}), **embedding.metadata}
    metadata.pop(VECTORS, None)  # only an untrained embedding has it
    return replace(embedding, name=state.embedding, step=embedding.step or before + step, format="", metadata=metadata)


def _file(folder: Path, step: int) -> Path:
    return folder / f"{step:07d}.safetensors"


def _own_steps(state: RunState) -> set[int]:
    try:
        matches = [_KEPT.fullmatch(path.name) for path in (state.folder / FOLDER).iterdir()]
    except OSError:  # a run of an earlier version, or one that has not been evaluated
        return set()
    return {int(match[1]) for match in matches if match}


def _snapshots(state: RunState) -> dict[int, Path]:
    """Return the files of the snapshots by step."""
    name = re.compile(re.escape(state.embedding) + r"-(\d+)\.pt")
    try:
        files = list((state.folder / SNAPSHOTS).iterdir())
    except OSError:
        return {}
    return {int(match[1]): file for file in files if (match := name.fullmatch(file.name))}


def _vectors_for_resuming(state: RunState) -> dict[int, dict[str, torch.Tensor]]:
    """Return the vectors by step in the file that the run is resumed from; none if it cannot be read."""
    from train_embedding.engine.training.resume import RESUME_FILE, read_resume

    file = state.folder / RESUME_FILE
    if not file.exists():
        return {}
    try:
        saved: Any = read_resume(file)["state"]
        found = {int(step): dict(vectors) for step, vectors in cast("dict[Any, Any]", saved["kept"]).items() if int(step)}
        return {**found, int(saved["step"]): dict(saved["average"])} if saved["step"] else found
    except (UnreadableFile, KeyError, TypeError, ValueError, AttributeError):
        return {}
