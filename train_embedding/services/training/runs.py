"""Training runs: start, watch, stop, resume and delete them. Each run has its own thread on the server."""

from __future__ import annotations

import builtins
import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.storage import remove_folder, storage_failed
from train_embedding.engine.config.spec import CHANGEABLE_ON_RESUME, TrainingSpec
from train_embedding.engine.process_group import SINGLE_PROCESS, Processes
from train_embedding.errors import BeingTrained, Conflict, HostFailed, TrainEmbeddingError, refusal_of
from train_embedding.hosts.base import Host, HostInfo
from train_embedding.messages import NOTHING, Message, joined, msg, plural
from train_embedding.services.datasets.datasets import Datasets
from train_embedding.services.library.create import MAX_VECTORS
from train_embedding.services.library.library import Library
from train_embedding.services.loaded_checkpoint import check_fits
from train_embedding.services.run_records import RunState, load_start, no_such_run
from train_embedding.services.store.leftovers import sweep, sweep_runs
from train_embedding.services.store.locks import being_trained
from train_embedding.services.store.trash import RUNS as TRASHED_RUNS
from train_embedding.services.store.trash import TRASH
from train_embedding.services.training.history import (
    RunEntry,
    StoredRuns,
    move_to_trash,
    read_note,
    restore_from_trash,
    trashed_runs,
    write_note,
)
from train_embedding.services.training.image_report import latents_folder, read_report, skip_notes
from train_embedding.services.training.prompts import check_prompts
from train_embedding.services.training.run import Run
from train_embedding.services.training.trainer import Trainer

__all__ = ["RunState", "Runs"]

logger = logging.getLogger(__name__)


class Runs:
    """Use cases about runs. Safe to call from any thread. One run is active at a time.

    Args:
        host: The host whose model and folders are used.
        library: The library that holds the embeddings.
        datasets: The service that checks a dataset before a run begins.
        processes: As for `Services`.
    """

    def __init__(self, host: Host, library: Library, datasets: Datasets, processes: Processes = SINGLE_PROCESS) -> None:
        self._host = host
        self._library = library
        self._datasets = datasets
        self._processes = processes
        self._lock = threading.RLock()
        self._runs: dict[str, Run] = {}
        "Runs of this process, by id."
        self._threads: dict[str, threading.Thread] = {}
        self._swept = False
        self._on_disk = StoredRuns()
        self._notes_written = 0

    def check(self, spec: TrainingSpec) -> tuple[TrainingSpec, tuple[Message, ...]]:
        """Check all that can be checked before a run.

        Args:
            spec: The run.

        Returns:
            The spec with the name of the embedding's file and the full path of the dataset, and notes for the user.

        Raises:
            NotFound: The embedding or the dataset does not exist.
            UnreadableFile: The embedding cannot be read.
            NotAllowed: The dataset may not be read.
            NothingToTrainOn: The dataset has no usable image.
            InvalidSpec: The checkpoint does not have the text encoder to train.
            Conflict: The embedding is for another model.
            HostFailed: No checkpoint is loaded.
        """
        spec = self._with_checked_embedding(spec)
        spec.trained_encoders(self._host.info().widths)
        notes = check_prompts(spec, self._host.info().extra_networks)
        spec, found = self._with_checked_dataset(spec)
        return spec, (*notes, *found)

    def start(self, spec: TrainingSpec, announce: Callable[[str], object] = lambda _: None) -> RunState:
        """Check the spec, then train in the background.

        Args:
            spec: The run.
            announce: Called with the id of the run before it begins; if it raises an error, the run does not begin.

        Returns:
            The state of the new run.

        Raises:
            BeingTrained: Another run is active.
            StorageFailed: The run's folder cannot be written.
            TrainEmbeddingError: What `check` raises.
        """
        spec, notes = self.check(spec)
        with self._lock:
            self._check_none_active(msg("Wait until the run ends, stop it, or add the new training to the queue."))
            self._sweep()
            folder = _new_folder(self._host.info().runs_folder)
            try:
                announce(folder.name)
                return self._begin(RunState(folder.name, spec.embedding, folder, spec, steps=spec.steps, notes=notes))
            except BaseException:
                _remove_if_empty(folder)
                raise

    def resume(self, run_id: str, changes: dict[str, Any] | None = None) -> RunState:
        """Resume a run that was stopped, failed or was interrupted. The result is bit-identical to that of an uninterrupted run.

        Args:
            run_id: The run.
            changes: New values of options in `CHANGEABLE_ON_RESUME`, as JSON values.

        Raises:
            Conflict: The run is active or has finished, or another option is to be changed.
            BeingTrained: Another run is active.
            TrainEmbeddingError: What `start` raises.
        """
        state = self.get(run_id)
        if state.active:
            raise Conflict(msg('The run "{run}" is still active.', run=run_id))
        if state.status == "finished":
            raise Conflict(
                msg('The run "{run}" has finished.', run=run_id), msg("Start a new run to continue from the embedding's vectors.")
            )
        refused = sorted(set(changes or {}) - set(CHANGEABLE_ON_RESUME))
        if refused:
            raise Conflict(
                plural(
                    "{options} cannot be changed when a run is resumed, because the result depends on it.",
                    "{options} cannot be changed when a run is resumed, because the result depends on them.",
                    len(refused),
                    options=joined(refused),
                ),
                msg(
                    "Change only {options}, or start a new run to continue from the embedding's vectors.",
                    options=joined(CHANGEABLE_ON_RESUME),
                ),
            )
        spec = TrainingSpec.from_json({**state.spec.to_json(), **changes}) if changes else state.spec
        self._check_fits(spec.embedding, self._start_of(state))
        found = [*check_prompts(spec, self._host.info().extra_networks), *self._with_checked_dataset(spec)[1]]
        with self._lock:
            self._check_none_active()
            self._sweep()
            return self._begin(state.resumed(spec).noting(*found))

    def _with_checked_dataset(self, spec: TrainingSpec) -> tuple[TrainingSpec, list[Message]]:
        """Return the spec with the full path of the dataset, and notes about the dataset."""
        if spec.distills:
            return spec, []
        report = self._datasets.inspect(spec.dataset, spec.repeats, spec.masks)
        return replace(spec, dataset=str(report.folder)), [*skip_notes(report.skipped), *report.notes]

    def _check_none_active(self, hint: Message = NOTHING) -> None:
        active = next((run.state for run in self._runs.values() if run.state.active), None)
        if active is not None:
            error = being_trained(active.embedding)
            raise BeingTrained(error.message, hint) if hint else error

    def _sweep(self) -> None:
        """Remove what killed processes left behind, once per process, before its first run."""
        if self._swept:
            return
        self._swept = True
        folder = self._host.info().runs_folder
        sweep_runs(folder)
        sweep(folder.parent, below=False)
        sweep(latents_folder(self._host.info()))

    def _start_of(self, state: RunState) -> Embedding:
        """Return the embedding as it was before the run."""
        return load_start(state) or self._library.read(state.embedding)

    def _begin(self, state: RunState) -> RunState:
        with ExitStack() as locks:
            locks.enter_context(self._library.lock_for_training(state.embedding))
            run = Run(self._host, state, self._start_of(state))
            trainer = Trainer(self._host, self._library, run, self._processes)
            state.save()
            self._runs[state.id] = run
            work = (run, trainer, locks.pop_all())
        thread = threading.Thread(target=_work, args=work, name=f"train-embedding {state.id}", daemon=True)
        self._threads[state.id] = thread
        thread.start()
        return state

    def stop(self, run_id: str) -> RunState:
        """Let a run end after its current step and keep the result. A run that has ended is not changed.

        Raises:
            NotFound: There is no such run.
        """
        run = self._runs.get(run_id)
        return self.get(run_id) if run is None else run.stop()

    def get(self, run_id: str) -> RunState:
        """Return the state of a run.

        Raises:
            NotFound: There is no such run.
        """
        run = self._runs.get(run_id)
        if run is not None:
            return run.state
        for state in self._stored():
            if state.id == run_id:
                return state
        raise no_such_run(run_id)

    def entry(self, run_id: str) -> RunEntry:
        """Return a run as the history shows it.

        Raises:
            NotFound: There is no such run.
        """
        state = self.get(run_id)
        return RunEntry(state, read_note(state.folder))

    def history(self, search: str = "") -> builtins.list[RunEntry]:
        """Return the runs in which each word of a search occurs, the newest first. Upper and lower case are the same."""
        words = search.casefold().split()
        entries = (RunEntry(state, read_note(state.folder)) for state in self.list())
        return [entry for entry in entries if entry.matches(words)]

    def history_version(self) -> str:
        """Return a text that changes whenever the history does, as far as that is cheap to see."""
        own = [(state.id, state.status, len(state.previews)) for state in self._own()]
        stamps = self._on_disk.stamps(self._host.info().runs_folder)
        others = [(folder, stamp) for folder, stamp in sorted(stamps.items()) if folder.name not in self._runs]
        return f"{hash((tuple(own), tuple(others), self._notes_written)) & 0xFFFFFFFFFFFF:012x}"

    def set_note(self, run_id: str, note: str) -> RunEntry:
        """Write the user's note about a run; an empty text removes it.

        Raises:
            NotFound: There is no such run.
            InvalidInput: The note is too long.
            StorageFailed: It cannot be written.
        """
        write_note(self.get(run_id).folder, note)
        self._notes_written += 1
        return self.entry(run_id)

    def set_saved_step(self, run_id: str, step: int | None) -> RunState:
        """Record which step's vectors the embedding has now, because someone chose another than the run did.

        Raises:
            NotFound: There is no such run.
            Conflict: The run is active.
            StorageFailed: It cannot be written.
        """
        with self._lock:
            state = self.get(run_id)
            if state.active:
                raise Conflict(msg('The run "{run}" is still active.', run=run_id), msg("Stop it first."))
            run = self._runs.get(run_id)
            if run is not None:
                run.publish(saved_step=step)
                return run.state
            changed = replace(state, saved_step=step)
            changed.save()
            return changed

    def delete(self, run_id: str) -> str:
        """Move a run with all of its files to the trash of runs; return its id there. The embedding stays as it is.

        Raises:
            NotFound: There is no such run.
            Conflict: The run is active, here or in another process.
            StorageFailed: A file cannot be moved.
        """
        state = self.get(run_id)
        if not state.active and run_id in self._threads:
            self._threads[run_id].join()  # it may still be writing the end of the run
        with self._lock:
            state = self.get(run_id)
            trained_here = any(other.active and other.embedding == state.embedding for other in self._own())
            trained_elsewhere = state.status == "interrupted" and not trained_here
            if state.active or (trained_elsewhere and self._library.is_being_trained(state.embedding)):
                raise Conflict(msg('The run "{run}" is still active.', run=run_id), msg("Stop it first."))
            trash_id = move_to_trash(state.folder, self._trash)
            self._runs.pop(run_id, None)
            self._threads.pop(run_id, None)
        return trash_id

    def restore(self, trash_id: str) -> RunEntry:
        """Move a run back from the trash of runs.

        Raises:
            NotFound: It is not in the trash.
            Conflict: There is a run with its id.
            StorageFailed: A file cannot be moved.
        """
        return self.entry(restore_from_trash(trash_id, self._trash, self._host.info().runs_folder).name)

    def trashed(self) -> builtins.list[RunEntry]:
        """Return the runs in the trash, the newest first; the folder of each is named after its id in the trash."""
        return trashed_runs(self._trash)

    def images(self, run_id: str) -> dict[str, Any]:
        """Return the report about the images of a run, as `image_report.report_of` makes it.

        Raises:
            NotFound: There is no such run, or it has not read its images yet.
        """
        return read_report(self.get(run_id).folder)

    def list(self) -> builtins.list[RunState]:
        """Return all runs, those of earlier processes too, the newest first."""
        stored = {state.id: state for state in self._stored()}
        states = stored | {state.id: state for state in self._own()}
        return sorted(states.values(), key=lambda state: state.id, reverse=True)

    def current(self) -> RunState | None:
        """Return the active run, or else the latest run of this process."""
        states = self._own()
        active = [state for state in states if state.active]
        return (active or states or [None])[-1]

    def latest(self) -> RunState | None:
        """Return the run that a page shows: `current()`, or before the first run of this process the newest resumable run.

        A run that is still active in another process is not resumable here.
        """
        current = self.current()
        if current is not None:
            return current
        newest = max(self._stored(), key=lambda state: state.id, default=None)
        if newest is None or not newest.resumable or self._library.is_being_trained(newest.embedding):
            return None
        return newest

    def wait(self, run_id: str, timeout: float | None = None) -> RunState:
        """Wait until the run has ended.

        Args:
            run_id: The run.
            timeout: Longest wait in seconds; None to wait without limit.

        Raises:
            NotFound: There is no such run.
        """
        state = self.get(run_id)
        if run_id in self._threads:
            self._threads[run_id].join(timeout)
            state = self.get(run_id)
        return state

    def _own(self) -> builtins.list[RunState]:
        """Return the states of the runs of this process, in the order in which they began."""
        with self._lock:
            return [run.state for run in self._runs.values()]

    def _with_checked_embedding(self, spec: TrainingSpec) -> TrainingSpec:
        """Return the spec with the name of the embedding's file, which may differ from the typed name in its Unicode form."""
        embedding = self._library.read(spec.embedding)
        self._check_fits(embedding.name, embedding)
        return replace(spec, embedding=embedding.name)

    def _check_fits(self, name: str, embedding: Embedding) -> None:
        info = self.loaded_info()
        if info.why_no_training:
            raise HostFailed(info.why_no_training)
        check_fits(name, embedding.widths, info)
        if embedding.count > MAX_VECTORS:
            raise Conflict(
                msg(
                    '"{name}" has {vectors} vectors; a prompt takes at most {limit}.',
                    name=name,
                    vectors=embedding.count,
                    limit=MAX_VECTORS,
                )
            )

    def loaded_info(self) -> HostInfo:
        """Return the facts of the host once its checkpoint is loaded; a WebUI that has just started may still be loading it."""
        info = self._host.info()
        if not info.widths and not info.why_no_training:
            self._host.token_embeddings("")  # this makes the host load the selected checkpoint
        return self._host.info()

    @property
    def _trash(self) -> Path:
        return self._host.info().runs_folder.parent / TRASH / TRASHED_RUNS

    def _stored(self) -> builtins.list[RunState]:
        return self._on_disk.read(self._host.info().runs_folder, besides=tuple(self._runs))


def _work(run: Run, trainer: Trainer, locks: ExitStack) -> None:
    """Carry out a run in its thread, and release `locks`, which keep others from changing the embedding, at its end."""
    failure: TrainEmbeddingError | None = None
    try:
        with locks:
            trainer.train()
    except TrainEmbeddingError as error:
        failure = error
    except Exception as error:  # last resort: the run must end with an error that is shown
        logger.exception("Training failed")
        failure = refusal_of(error) or TrainEmbeddingError(
            msg("Training failed with an unexpected error: {error}", error=f"{type(error).__name__}: {error}"),
            msg("The log of the program has the details."),
        )
    try:
        run.end(failure)
    except TrainEmbeddingError as error:
        logger.warning("The end of run %s could not be written: %s", run.state.id, error)


def _new_folder(runs_folder: Path) -> Path:
    """Create a folder for a run, named after the time, with a number if another run began in the same millisecond."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S-%f")[:-3]
    for number in count(1):
        folder = runs_folder / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except OSError as error:
            if not (isinstance(error, FileExistsError) and folder.exists()):
                raise storage_failed(folder, error) from error
    raise AssertionError("numbers do not end")


def _remove_if_empty(folder: Path) -> None:
    """Remove the folder of a run that did not start."""
    try:
        if not any(folder.iterdir()):
            remove_folder(folder)
    except OSError as error:
        logger.warning("The folder %s of a run that did not start cannot be removed: %s", folder, error)
