"""Training runs: started, watched and stopped; each works in a thread of its own on the server."""

from __future__ import annotations

import builtins
import logging
import threading
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.storage import is_refused, remove_folder, storage_failed
from train_embedding.embeddings.text_encoders import model_of
from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.engine.process_group import SINGLE_PROCESS, Processes
from train_embedding.errors import Conflict, HostFailed, NotFound, StorageFailed, TrainEmbeddingError, refusal_of
from train_embedding.hosts.base import Host
from train_embedding.services.datasets.datasets import Datasets
from train_embedding.services.library.create import MAX_VECTORS
from train_embedding.services.library.library import Library
from train_embedding.services.run_records import RunState, load_start, load_state
from train_embedding.services.store.leftovers import sweep, sweep_runs
from train_embedding.services.training.image_report import latents_folder, read_report, skip_notes
from train_embedding.services.training.prompts import check_prompts
from train_embedding.services.training.run import Training

__all__ = ["RunState", "Runs"]

CHANGEABLE_ON_RESUME = (
    "save_every", "preview_every", "preview_prompt", "preview_negative_prompt", "preview_seed", "preview_steps",
    "preview_guidance",
)  # fmt: skip
"Fields of a spec that the vectors do not depend on."

logger = logging.getLogger(__name__)


class Runs:
    """Use cases about runs. Safe to call from any thread; one run is under way at a time. processes: as for `Services`."""

    def __init__(self, host: Host, library: Library, datasets: Datasets, processes: Processes = SINGLE_PROCESS) -> None:
        self._host = host
        self._library = library
        self._datasets = datasets
        self._processes = processes
        self._lock = threading.RLock()
        self._states: dict[str, RunState] = {}
        "Runs of this process."
        self._threads: dict[str, threading.Thread] = {}
        self._stops: dict[str, threading.Event] = {}
        self._swept = False
        self._refused: set[str] = set()
        "Runs whose state could not be written the last time."

    def start(self, spec: TrainingSpec) -> RunState:
        """Checks what can be checked at once, then trains in the background.

        Raises NotFound for the embedding or the folder, UnreadableFile, NotAllowed, NothingToTrainOn, InvalidSpec where the
        checkpoint has not the text encoder that is to be trained, Conflict when another
        run is under way or the embedding is for another model, HostFailed when there is no checkpoint, StorageFailed.
        """
        spec = self._with_checked_embedding(spec)
        spec.trained_encoders(self._host.info().widths)
        notes = check_prompts(spec, self._host.info().extra_networks)
        spec, found = self._with_checked_dataset(spec)
        with self._lock:
            self._refuse_a_second()
            self._sweep()
            folder = _new_folder(self._host.info().runs_folder)
            try:
                return self._begin(
                    RunState(folder.name, spec.embedding, folder, spec.to_json(), steps=spec.steps, notes=(*notes, *found))
                )
            except BaseException:
                _remove_if_empty(folder)
                raise

    def resume(self, run_id: str, changes: dict[str, Any] | None = None) -> RunState:
        """Goes on with a run that was stopped, failed or interrupted, from where it was last saved, to the same vectors as if
        it had never ended.

        changes: fields of the spec, of those that the vectors do not depend on. Raises what `start` raises, and Conflict for a
        run that is under way or has finished, or for another field.
        """
        state = self.get(run_id)
        if state.active:
            raise Conflict(f'The run "{run_id}" is under way.')
        if state.status == "finished":
            raise Conflict(f'The run "{run_id}" has finished.', "A new run goes on from the embedding's vectors.")
        refused = sorted(set(changes or {}) - set(CHANGEABLE_ON_RESUME))
        if refused:
            raise Conflict(
                f"A run that goes on cannot change {', '.join(refused)}: its result would not be that of the run that was begun.",
                f"Change {', '.join(CHANGEABLE_ON_RESUME)}, or start a new run, which goes on from the embedding's vectors.",
            )
        spec = TrainingSpec.from_json({**state.spec, **(changes or {})})
        self._check_fits(spec.embedding, self._begun(state))
        found = [*check_prompts(spec, self._host.info().extra_networks), *self._with_checked_dataset(spec)[1]]
        with self._lock:
            self._refuse_a_second()
            self._sweep()
            going_on = state.resumed(spec.to_json())
            return self._begin(replace(going_on, notes=tuple(dict.fromkeys([*going_on.notes, *found]))))

    def _with_checked_dataset(self, spec: TrainingSpec) -> tuple[TrainingSpec, list[str]]:
        """The spec with the folder's full path, and sentences about what is in it."""
        if spec.distills:
            return spec, []
        report = self._datasets.inspect(spec.dataset, spec.repeats, spec.masks)
        return replace(spec, dataset=str(report.folder)), [*skip_notes(report.skipped), *report.notes]

    def _refuse_a_second(self) -> None:
        under_way = next((state for state in self._states.values() if state.active), None)
        if under_way is not None:
            raise Conflict(f'"{under_way.embedding}" is being trained.', "Wait for the end of that run, or stop it.")

    def _sweep(self) -> None:
        """Once per process, before its first run."""
        if self._swept:
            return
        self._swept = True
        folder = self._host.info().runs_folder
        sweep_runs(folder)
        sweep(folder.parent, below=False)
        sweep(latents_folder(self._host.info()))

    def _begun(self, state: RunState) -> Embedding:
        """The embedding as it was before the run."""
        return load_start(state) or self._library.read(state.embedding)

    def _begin(self, state: RunState) -> RunState:
        with ExitStack() as holding:
            holding.enter_context(self._library.held(state.embedding))
            stop = threading.Event()
            training = Training(self._host, self._library, state, self._publisher(state.id), stop.is_set, self._processes)
            state.save()
            self._states[state.id] = state
            self._stops[state.id] = stop
            work = (state.id, training, holding.pop_all())
        thread = threading.Thread(target=self._work, args=work, name=f"train-embedding {state.id}", daemon=True)
        self._threads[state.id] = thread
        thread.start()
        return state

    def stop(self, run_id: str) -> RunState:
        """Asks a run to end after the step it is at, keeping the result. One that has ended stays as it is. Raises NotFound."""
        state = self.get(run_id)
        if run_id in self._stops and state.active:
            self._stops[run_id].set()
            with self._lock:
                if self._states[run_id].active:
                    self._states[run_id] = replace(self._states[run_id], status="stopping")
                return self._states[run_id]
        return state

    def get(self, run_id: str) -> RunState:
        """Raises NotFound."""
        with self._lock:
            if run_id in self._states:
                return self._states[run_id]
        for state in self._stored():
            if state.id == run_id:
                return state
        raise NotFound(f'There is no run "{run_id}".')

    def pictures(self, run_id: str) -> dict[str, Any]:
        """Which pictures a run used and how, and which it did not and why, as `services.pictures.report_of` tells.

        Raises NotFound for a run that is none or has not read its pictures.
        """
        return read_report(self.get(run_id).folder)

    def list(self) -> builtins.list[RunState]:
        """Every run of this process and of earlier ones, the newest first."""
        stored = {state.id: state for state in self._stored()}  # outside the lock, which a run that reports waits for
        with self._lock:
            states = stored | self._states
        return sorted(states.values(), key=lambda state: state.id, reverse=True)

    def current(self) -> RunState | None:
        """The run under way, or else the last one of this process, or None."""
        with self._lock:
            states = [*self._states.values()]
        active = [state for state in states if state.active]
        return (active or states or [None])[-1]

    def latest(self) -> RunState | None:
        """What a page shows: `current()`, or before the first run of this process the newest of earlier ones, if it can go on."""
        return self.current() or self._left_behind

    @cached_property
    def _left_behind(self) -> RunState | None:
        """Looked for once, since pages ask every second. One that another process still works on is none."""
        newest = max(self._stored(), key=lambda state: state.id, default=None)
        return newest if newest is not None and newest.resumable and not self._library.is_held(newest.embedding) else None

    def wait(self, run_id: str, timeout: float | None = None) -> RunState:
        """Waits until the run has ended, at most `timeout` seconds. Raises NotFound."""
        state = self.get(run_id)
        if run_id in self._threads:
            self._threads[run_id].join(timeout)
            state = self.get(run_id)
        return state

    def _with_checked_embedding(self, spec: TrainingSpec) -> TrainingSpec:
        """With the embedding's name as its file has it, which may be another Unicode form of what was typed."""
        embedding = self._library.read(spec.embedding)
        self._check_fits(embedding.name, embedding)
        return replace(spec, embedding=embedding.name)

    def _check_fits(self, name: str, embedding: Embedding) -> None:
        info = self._host.info()
        if info.why_no_training:
            raise HostFailed(info.why_no_training)
        if not info.widths:
            raise HostFailed("No checkpoint is loaded.", "Load one, then train.")
        if embedding.widths != info.widths:
            raise Conflict(
                f'The embedding "{name}" is for {model_of(embedding.widths)}; the loaded checkpoint is {model_of(info.widths)}.',
                "Load a checkpoint of that kind, or create a new embedding.",
            )
        if embedding.count > MAX_VECTORS:
            raise Conflict(f'The embedding "{name}" has {embedding.count} vectors; a prompt takes at most {MAX_VECTORS}.')

    def _stored(self) -> builtins.list[RunState]:
        folder = self._host.info().runs_folder
        states: builtins.list[RunState] = []
        for state_file in folder.glob("*/state.json"):
            if state_file.parent.name in self._states:
                continue
            try:
                states.append(load_state(state_file.parent))
            except (OSError, ValueError) as error:
                logger.warning("The run in %s is left out of the list: %s", state_file.parent, error)
        return states

    def _publisher(self, run_id: str) -> Any:
        def publish(**changes: Any) -> RunState:
            with self._lock:
                before = self._states[run_id]
                if before.status == "stopping" and changes.get("status") in ("preparing", "running"):
                    del changes["status"]
                self._states[run_id] = replace(before, **changes)
            return self._reported(run_id)

        return publish

    def _reported(self, run_id: str) -> RunState:
        """Writes a run's state to its folder. Where another program has the file open, the run goes on and a note says so."""
        state = self._states[run_id]
        try:
            state.save(patient=run_id not in self._refused)
            self._refused.discard(run_id)
        except StorageFailed as error:
            if not is_refused(error):
                raise
            logger.warning("The progress of run %s could not be saved: %s", run_id, error)
            self._refused.add(run_id)
            with self._lock:
                state = self._states[run_id].noting(f"Some progress was not saved while the run went on: {error.message}")
                self._states[run_id] = state
        return state

    def _work(self, run_id: str, training: Training, holding: ExitStack) -> None:
        """holding: what keeps the embedding's file in its place meanwhile."""
        failure: TrainEmbeddingError | None = None
        try:
            with holding:
                training.work()
        except TrainEmbeddingError as error:
            failure = error
        except Exception as error:  # a thread's last resort: the run must end with a sentence
            logger.exception("Training failed")
            sentence = f"Training ended with an unexpected error: {type(error).__name__}: {error}"
            failure = refusal_of(error) or TrainEmbeddingError(sentence)
        try:
            self._end(run_id, failure)
        except TrainEmbeddingError as error:
            logger.warning("The end of run %s could not be written: %s", run_id, error)

    def _end(self, run_id: str, failure: TrainEmbeddingError | None) -> None:
        with self._lock:
            state = self._states[run_id]
            if failure is not None:
                state = replace(state, status="failed", eta_seconds=None, error=failure.message, hint=failure.hint)
            elif state.step < state.steps:
                state = state.stopped_early()
            else:
                state = replace(state, status="finished", eta_seconds=0.0)
            self._states[run_id] = state
        state.save()


def _new_folder(runs_folder: Path) -> Path:
    """A folder for a run, named after the time; a number follows where another run began in the same millisecond."""
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
    """Of a run that did not begin, nothing is kept."""
    try:
        if not any(folder.iterdir()):
            remove_folder(folder)
    except OSError as error:
        logger.warning("The folder %s of a run that did not begin stays: %s", folder, error)
