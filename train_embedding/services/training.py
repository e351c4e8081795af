"""One training run from its spec to its files: the engine's loop with the listeners that report, save and preview."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import read_embedding, write_embedding
from train_embedding.embeddings.storage import storage_failed
from train_embedding.engine.events import Ended, Evaluated, Event, Started, Stepped
from train_embedding.engine.spec import ResolvedSpec, TrainingSpec, resolve
from train_embedding.errors import HostFailed, TrainingFailed
from train_embedding.hosts.base import Host, Progress
from train_embedding.services.library import Library
from train_embedding.services.pictures import prepare_pictures
from train_embedding.services.previews import Previews
from train_embedding.services.run_log import RunLog
from train_embedding.services.run_state import RunState, thinned

if TYPE_CHECKING:
    import torch

    from train_embedding.engine.conditioning import Conditioning
    from train_embedding.engine.latents import EncodedPicture, LatentDataset
    from train_embedding.engine.loop import Evaluate
    from train_embedding.engine.model import DiffusionModel
    from train_embedding.engine.state import TrainState

REPORT_SECONDS = 1.0
"Losses are read from the device, and the state written, this often and not every step."
EVALUATION_ITEMS = 16
START_FILE = "start.pt"
"The embedding as it was before the run."
_RECENT = 20

Update = Callable[..., RunState]
"Changes fields of the run's state, publishes it and returns it."


class Training:
    """Runs in one thread, inside the host's queue; a run that was interrupted goes on from what its folder holds.

    publish: called with the fields of the state that changed. should_stop: whether somebody asked for the end.
    """

    def __init__(self, host: Host, library: Library, state: RunState, publish: Update, should_stop: Callable[[], bool]) -> None:
        self._host = host
        self._library = library
        self._spec = TrainingSpec.from_json(state.spec)
        self._state = state
        self._publish_fields = publish
        self._should_stop = should_stop
        self._start = read_embedding(self._start_file) if self._start_file.exists() else library.read(self._spec.embedding)
        self._log = RunLog(state.folder)
        self._train_state: TrainState | None = None
        self._good: Embedding | None = None
        "The newest vectors that were seen to be finite and belong to the run."
        self._unread: list[tuple[int, float, torch.Tensor]] = []
        self._points: list[tuple[int, float]] = []
        self._resolved: ResolvedSpec | None = None
        self._circumstances: dict[str, str] = {}
        self._evaluate: Evaluate | None = None
        self._stopped = False
        self._previews: Previews | None = None
        self._began = self._reported = 0.0

    def work(self) -> None:
        """The whole run. Whatever ends it, the vectors to keep are written first; raises what the engine raises."""
        import torch

        with self._host.exclusive(f"Training {self._spec.embedding}"):
            if self._stopping():  # while it waited for the host
                return
            self._publish(status="preparing")
            try:
                with self._host.model() as model, torch.inference_mode(False), torch.enable_grad():
                    self._train(model)
            finally:
                self._log.close()
                self._write_result()

    def _train(self, model: DiffusionModel) -> None:
        from train_embedding.engine.distill import bare_captions
        from train_embedding.engine.latents import LatentDataset

        resolved = self._resolved = resolve(self._spec, model.resolution)
        self._note_schedule(resolved)
        if self._spec.preview_every:
            self._previews = Previews(self._host, resolved, self._state.folder, self._log, self._stopping)
        self._publish(steps=resolved.steps)
        pictures, teacher = self._pictures_and_teacher(model, resolved)
        if self._stopping():
            return
        captioned = resolved if teacher is None else bare_captions(resolved)
        dataset = LatentDataset(pictures, captioned, self._start.count, model.device, teacher)
        self._evaluate = self._evaluation(model, dataset)
        self._circumstances = self._read_circumstances(model, pictures)
        self._train_state = self._new_or_saved_state(model, resolved)
        if not self._start_file.exists():
            write_embedding(self._start, self._start_file)
        self._train_with_less_memory_if_need_be(model, dataset, resolved)

    def _pictures_and_teacher(
        self, model: DiffusionModel, resolved: ResolvedSpec
    ) -> tuple[list[EncodedPicture], Conditioning | None]:
        """What the run learns from: the folder's pictures, or scenes and the prompt to distil."""
        from train_embedding.engine.distill import draw_scenes, encode_teacher

        if self._spec.distills:
            return draw_scenes(model, resolved, self._stopping), encode_teacher(model, self._spec.teacher_prompt)
        pictures, notes = prepare_pictures(self._host, model, resolved, self._state.folder, self._stopping)
        self._note(*notes)
        return pictures, None

    def _train_with_less_memory_if_need_be(self, model: DiffusionModel, dataset: LatentDataset, resolved: ResolvedSpec) -> None:
        import torch

        from train_embedding.engine.loop import train
        from train_embedding.engine.memory import checkpointed

        assert self._train_state is not None
        assert self._evaluate is not None
        with ExitStack() as stack:
            for attempt in (1, 2):
                try:
                    train(model, self._train_state, dataset, resolved, self._evaluate, self._listen, self._stopping_or_giving_way)
                    return
                except torch.cuda.OutOfMemoryError as error:
                    if attempt == 2:
                        raise TrainingFailed(
                            "The GPU ran out of memory.", "Use a smaller batch size, or smaller pictures."
                        ) from error
                # Outside the handler, whose traceback would hold on to the memory.
                stack.enter_context(checkpointed(model))
                torch.cuda.empty_cache()
                self._note(
                    f"The GPU ran out of memory at step {self._train_state.step + 1}; the run goes on with gradient "
                    "checkpointing, which needs less and is slower."
                )

    def _evaluation(self, model: DiffusionModel, dataset: LatentDataset) -> Evaluate:
        import torch

        from train_embedding.engine.evaluation import fixed_losses, training_items

        groups = training_items(model, dataset, EVALUATION_ITEMS, self._spec.seed) if self._spec.evaluate_every else []
        return lambda vectors: torch.cat([fixed_losses(model, vectors, items) for items in groups])

    def _read_circumstances(self, model: DiffusionModel, pictures: list[EncodedPicture]) -> dict[str, str]:
        """What the vectors of every later step depend on, beside the spec and the vectors of now."""
        from train_embedding.engine.snapshots import pictures_digest

        info = self._host.info()
        return {
            "the pictures or their captions": pictures_digest(pictures),
            "the checkpoint": f"{info.checkpoint_name} {info.checkpoint_hash}",
            "the clip skip setting": " ".join(str(encoder.layer) for encoder in model.text_encoders),
            "the device": f"{info.device} {info.dtype}",
        }

    def _new_or_saved_state(self, model: DiffusionModel, resolved: ResolvedSpec) -> TrainState:
        from train_embedding.engine.snapshots import RESUME_FILE, load_resume
        from train_embedding.engine.state import new_state

        state = new_state(self._start.vectors, resolved, model.device)
        file = self._state.folder / RESUME_FILE
        if file.exists():
            load_resume(file, state, self._circumstances)
        return state

    def _stopping(self) -> bool:
        return self._should_stop() or self._host.interrupted()

    def _stopping_or_giving_way(self) -> bool:
        """Asked between two steps. A model that changed while others worked ends the run like a stop, with the reason noted."""
        if self._stopping():
            return True
        try:
            self._host.give_way()
        except HostFailed as error:
            self._note(f"The run was ended: {error}")
            return True
        return self._stopping()

    def _listen(self, event: Event) -> None:
        match event:
            case Started():
                self._on_started(event)
            case Stepped():
                self._on_stepped(event)
            case Evaluated():
                self._on_evaluated(event)
            case Ended():
                self._on_ended(event)

    def _on_started(self, event: Started) -> None:
        step = event.state.step
        self._points = self._log.go_back(step)
        self._unread.clear()
        self._good = self._embedding(event.state) if step else None
        if step == 0:
            self._save_resume(event.state)
            self._draw_previews(0, self._start)
        self._log.event("started", step, steps=event.steps, seconds=self._state.seconds)
        self._began = time.monotonic() - self._state.seconds
        self._reported = time.monotonic()
        self._publish(status="running", step=step)

    def _on_stepped(self, event: Stepped) -> None:
        self._unread.append((event.step, event.rate, event.loss))
        due = [every and event.step % every == 0 for every in (self._spec.save_every, self._spec.preview_every)]
        if any(due) or time.monotonic() - self._reported >= REPORT_SECONDS or event.step == 1:
            self._report(event.state)
        if due[0]:
            self._save_snapshot(event.step)
        if due[1] and self._good is not None:
            self._draw_previews(event.step, self._good)
        if due[0] and self._resolved is not None and not self._resolved.evaluates_at(event.step, event.state.ending):
            self._save_resume(event.state)

    def _on_evaluated(self, event: Evaluated) -> None:
        from train_embedding.engine.stopping import best, scores

        state = event.state
        values = scores(state.evaluations)
        losses = cast("list[float]", event.evaluation.losses.tolist())  # pyright: ignore[reportUnknownMemberType]
        self._log.event("evaluated", state.step, score=values[-1], losses=losses)
        curve = tuple((one.step, value, float(one.losses.mean())) for one, value in zip(state.evaluations, values, strict=True))
        self._publish(evaluations=curve, best_step=state.evaluations[best(state.evaluations)].step)
        if state.step and self._spec.save_every and state.step % self._spec.save_every == 0:
            self._save_resume(state)  # only now: the evaluation is part of it

    def _on_ended(self, event: Ended) -> None:
        from train_embedding.engine.stopping import CONVERGED

        state = event.state
        self._stopped = event.stopped
        if self._unread:
            self._report(state)
        if state.step:
            self._save_resume(state)
        if event.stopped and state.step and state.evaluations and state.evaluations[-1].step != state.step and self._evaluate:
            state.record(self._evaluate(state.average))  # after saving: a run that goes on never makes this evaluation
        if not event.stopped and self._resolved is not None:
            self._publish(steps=self._resolved.last_step(state.ending))
        if state.verdict == CONVERGED:
            self._note("The run ended by itself: the evaluations had come to rest.")
        self._log.event("ended", state.step, stopped=event.stopped, verdict=state.verdict)

    def _report(self, state: TrainState) -> None:
        """Reads the losses since the last report, and keeps the vectors. Raises TrainingFailed at NaN or infinity."""
        import torch

        from train_embedding.engine.state import not_finite

        losses = cast("list[float]", torch.stack([loss for _, _, loss in self._unread]).tolist())  # pyright: ignore[reportUnknownMemberType]
        rows = [(step, loss, rate) for (step, rate, _), loss in zip(self._unread, losses, strict=True)]
        rate = self._unread[-1][1]
        self._unread.clear()
        bad = next((step for step, loss, _ in rows if not math.isfinite(loss)), None)
        finite = bad is None and all(bool(torch.isfinite(vectors).all()) for vectors in state.vectors.values())
        if finite:
            self._good = self._embedding(state)
        self._log.losses(rows)
        if not finite:
            raise not_finite(bad or state.step)
        self._points += [(step, loss) for step, loss, _ in rows]
        self._reported = time.monotonic()
        self._publish_progress(state, rate)

    def _publish_progress(self, state: TrainState, rate: float) -> None:
        assert self._resolved is not None
        seconds = self._reported - self._began
        recent = [loss for _, loss in self._points[-_RECENT:]]
        loss = sum(recent) / len(recent)
        last = self._resolved.last_step(state.ending)
        eta = seconds / state.step * (last - state.step)
        self._publish(
            step=state.step,
            steps=last,
            loss=loss,
            rate=rate,
            seconds=seconds,
            eta_seconds=eta,
            losses=thinned(self._points),
        )
        self._host.report(Progress(state.step, last, f"{self._spec.embedding}: loss {loss:.4f}"))

    def _embedding(self, state: TrainState) -> Embedding:
        return self._as_embedding(state.average, state.step)

    def _as_embedding(self, vectors: dict[str, torch.Tensor], step: int) -> Embedding:
        info = self._host.info()
        done = (self._start.step or 0) + step
        return Embedding(self._spec.embedding, vectors, done, info.checkpoint_name or None, info.checkpoint_hash or None)

    @property
    def _start_file(self) -> Path:
        return self._state.folder / START_FILE

    def _save_resume(self, state: TrainState) -> None:
        from train_embedding.engine.snapshots import RESUME_FILE, save_resume

        save_resume(self._state.folder / RESUME_FILE, state, self._circumstances)

    def _save_snapshot(self, step: int) -> None:
        assert self._good is not None
        file = self._state.folder / "snapshots" / f"{self._spec.embedding}-{step}.pt"
        write_embedding(self._good, file)
        if file not in self._state.files:
            self._publish(files=(*self._state.files, file))

    def _draw_previews(self, step: int, embedding: Embedding) -> None:
        if self._previews is None:
            return
        for file in self._previews.draw(step, embedding):
            if file not in self._state.previews:
                self._publish(previews=(*self._state.previews, file))
        self._note(*self._previews.problems)

    def _write_result(self) -> None:
        """Writes the vectors to keep into the embeddings folder; nothing where no step was better than the start."""
        chosen = self._chosen()
        if chosen is None:
            return
        entry = self._library.save(chosen)
        self._publish(files=(entry.file, *(file for file in self._state.files if file != entry.file)))

    def _chosen(self) -> Embedding | None:
        from train_embedding.engine.stopping import NOT_LEARNING, why_not_learning

        state = self._train_state
        if state is None or self._good is None:
            return None
        if self._spec.keep == "last" or len(state.evaluations) < 2:
            return self._good
        step, vectors = state.chosen(after=0 if self._stopped else -1)
        if not step:
            reason = why_not_learning(state.evaluations, state.moved())
            self._note(f"No step was better than the start, so the embedding is as it was. {reason}")
            return None
        if state.verdict == NOT_LEARNING:
            self._note(why_not_learning(state.evaluations, state.moved()))
        self._publish(best_step=step)
        return self._as_embedding(vectors, step)

    def _note_schedule(self, resolved: ResolvedSpec) -> None:
        if resolved.steps < self._spec.steps:
            self._note(f"The learning rate schedule ends at step {resolved.steps}, so the run does too.")

    def _note(self, *sentences: str) -> None:
        new = [sentence for sentence in sentences if sentence not in self._state.notes]
        if new:
            self._publish(notes=(*self._state.notes, *new))

    def _publish(self, **changes: object) -> None:
        self._state = self._publish_fields(**changes)


def new_run_folder(runs_folder: Path, run_id: str) -> Path:
    """Makes the folder of a run. Raises StorageFailed."""
    folder = runs_folder / run_id
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise storage_failed(folder, error) from error
    return folder


def stopped_early(state: RunState) -> RunState:
    """The state of a run that was stopped, with the sentence that says what became of the embedding."""
    if state.step:
        return replace(state, status="stopped", eta_seconds=None)
    note = "Stopped before the first step; the embedding is as it was."
    return replace(state, status="stopped", eta_seconds=None, notes=(*state.notes, note))
