"""Carries out one run of a study: creates the embedding, trains it or resumes its training, and generates images with it."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.storage import write_atomically
from train_embedding.engine.config.spec import resolve
from train_embedding.errors import TrainEmbeddingError, refusal_of
from train_embedding.hosts.base import Host
from train_embedding.images.png import encode_png
from train_embedding.messages import Message, msg
from train_embedding.services.datasets.datasets import Datasets
from train_embedding.services.infotext import infotext, with_infotext
from train_embedding.services.library.library import Library
from train_embedding.services.run_records import RunState, preview_request
from train_embedding.services.store.locks import file_lock
from train_embedding.services.studies.addresses import SavedRun, is_address, local_copy
from train_embedding.services.studies.plan import PlannedRun
from train_embedding.services.studies.results import RunResult, newest_state, read_result
from train_embedding.services.training.runs import Runs

if TYPE_CHECKING:
    import torch

PATIENCE = 120.0
"""Seconds to wait for another worker that holds a run: one that the cluster counts as dead may still be ending its step."""
_TICK = 0.1
"Seconds between two looks at whether the study is being stopped."

OpenHost = Callable[[Path, str], Host]
"Opens a host over the data folder of a run, with the checkpoint at a path; empty for the demo checkpoint."

logger = logging.getLogger(__name__)


def carry_out(run: PlannedRun, place: str, open_host: OpenHost, stopping: Callable[[], bool] = lambda: False) -> RunResult:
    """Carry out a run, from where it was last saved, and write its result. A run that has finished is left as it is.

    Args:
        run: The run.
        place: Path or address of its folder, whose contents tell how far it has come.
        open_host: Opens the host to train with.
        stopping: Returns whether the run shall end after its current step; it can be continued later.

    Returns:
        The result. An error of the run is part of it, and is not raised.

    Raises:
        StorageFailed: The result cannot be written.
    """
    if not is_address(place):
        return _carry_out(run, Path(place), open_host, stopping)
    with tempfile.TemporaryDirectory(prefix="train-embedding-run-", ignore_cleanup_errors=True) as folder:
        saved = SavedRun(place)
        saved.fetch(Path(folder))

        def save_and_ask() -> bool:
            saved.save_progress(Path(folder))
            return stopping()

        result = _carry_out(run, Path(folder), open_host, save_and_ask)
        saved.save(Path(folder))
        return result


def _carry_out(run: PlannedRun, folder: Path, open_host: OpenHost, stopping: Callable[[], bool]) -> RunResult:
    try:
        with file_lock(folder / ".lock", PATIENCE):
            done = read_result(folder)
            if done is not None and done.status == "finished":
                return done
            result = _result(run, folder, open_host, stopping)
            result.save(folder)
            return result
    except TimeoutError:
        return RunResult("stopped", error=msg("Another worker holds the run."))


def _result(run: PlannedRun, folder: Path, open_host: OpenHost, stopping: Callable[[], bool]) -> RunResult:
    before = read_result(folder)
    resumed = before.resumed if before else 0
    try:
        state = newest_state(folder)
        resumed += state is not None
        run = _with_copies(run)
        host = open_host(folder, run.checkpoint)
        library = Library(host)
        trained = state if state and state.status == "finished" else _trained(run, state, host, library, stopping)
        facts = RunResult("finished", trained.step, trained.loss, _evaluation(trained), trained.seconds, resumed=resumed)
        facts = replace(facts, worker=f"{platform.node()}:{os.getpid()}")
        if trained.error:
            return replace(facts, status="failed", error=trained.error)
        if trained.status != "finished":
            return replace(facts, status="stopped")
        embedding = library.read(run.embedding)
        file = library.get(run.embedding).file.relative_to(folder.resolve()).as_posix()
        images = _images(run, folder, host, trained, embedding)
        return replace(facts, file=file, images=images, vectors_sha256=vectors_sha256(embedding.vectors))
    except Exception as error:  # last resort: the other runs go on, and the study says why this one failed
        logger.info("The run %s failed", run.id, exc_info=True)
        return RunResult("failed", resumed=resumed, error=_sentence(error))


def _with_copies(run: PlannedRun) -> PlannedRun:
    """Return the run with copies on this machine in place of addresses. Raises NotFound, StorageFailed."""
    dataset, checkpoint = (str(local_copy(at)) if is_address(at) else at for at in (run.dataset, run.checkpoint))
    return replace(run, dataset=dataset, checkpoint=checkpoint)


def _trained(run: PlannedRun, state: RunState | None, host: Host, library: Library, stopping: Callable[[], bool]) -> RunState:
    """Train, or resume the training of an earlier state, and return its last state. Raises TrainEmbeddingError."""
    if state is not None:
        _with_dataset(state, run.dataset).save()
    runs = Runs(host, library, Datasets(host))
    if state is None and not any(entry.name == run.embedding for entry in library.list()):
        library.create(run.embedding, run.init_text, run.vectors)
    state = runs.resume(state.id) if state is not None else runs.start(run.spec())
    while state.active:
        if stopping():
            runs.stop(state.id)
        state = runs.wait(state.id, _TICK)
    return runs.wait(state.id)


def _with_dataset(state: RunState, dataset: str) -> RunState:
    """Return a state with the dataset where this worker has it. That the images are the same is checked when it is resumed."""
    previews = tuple(state.folder / "previews" / file.name for file in state.previews)
    return replace(state, spec=replace(state.spec, dataset=dataset), previews=previews)


def _images(run: PlannedRun, folder: Path, host: Host, state: RunState, embedding: Embedding) -> tuple[str, ...]:
    """Generate the images of a run: for each prompt, one per seed. Raises TrainEmbeddingError."""
    if not run.images:
        return ()
    spec, info = state.spec, host.info()
    size = resolve(spec, info.resolution)
    names: list[str] = []
    with host.exclusive(f"Images of {run.embedding}"):
        for prompt_number, prompt in enumerate(spec.preview_prompts(), 1):
            request = preview_request(spec, prompt, size.width, size.height)
            for number in range(run.images):
                seeded = replace(request, seed=request.seed + number, embeddings=(embedding,))
                name = f"images/{prompt_number}-{number + 1}.png"
                text = infotext(seeded, info.checkpoint_name, info.checkpoint_hash)
                write_atomically(folder / name, with_infotext(encode_png(host.txt2img(seeded)), text))
                names.append(name)
    return tuple(names)


def vectors_sha256(vectors: dict[str, torch.Tensor]) -> str:
    """Return the SHA-256 of the values of vectors, encoder by encoder, as fp32 in little-endian order."""
    import torch

    digest = hashlib.sha256()
    for key in sorted(vectors):
        digest.update(key.encode())
        digest.update(vectors[key].detach().to("cpu", torch.float32).contiguous().numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def _evaluation(state: RunState) -> float | None:
    """Return the score of the kept step; None if it was not evaluated."""
    scores = {step: score for step, score, _ in state.evaluations}
    kept = state.saved_step if state.saved_step is not None else state.best_step
    return scores.get(kept) if kept is not None else None


def _sentence(error: Exception) -> Message:
    known = error if isinstance(error, TrainEmbeddingError) else refusal_of(error)
    if known is not None:
        return known.text
    return msg("Training failed with an unexpected error: {error}", error=f"{type(error).__name__}: {error}")
