"""Listener of the training loop: publishes, logs and saves progress, and generates previews."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, cast

from train_embedding.embeddings.embedding import Embedding
from train_embedding.engine.config.spec import ResolvedSpec
from train_embedding.engine.training.events import Ended, Evaluated, Event, Started, Stepped
from train_embedding.hosts.base import Progress
from train_embedding.messages import msg, verbatim
from train_embedding.services.run_records import SNAPSHOTS, thinned
from train_embedding.services.training.kept_steps import KeptSteps
from train_embedding.services.training.previews import Previews
from train_embedding.services.training.run import Run
from train_embedding.services.training.run_log import RunLog
from train_embedding.services.training.step_times import StepClock

if TYPE_CHECKING:
    import torch

    from train_embedding.engine.training.state import TrainState

REPORT_SECONDS = 1.0
"Seconds between reports, at which losses are read from the device and the state is saved."
_RECENT = 20
"Number of steps that the reported loss is a mean of."


class Recorder:
    """Handles the events of one run; it is called with each event.

    Args:
        run: The run, whose state is published.
        resolved: The run's spec.
        circumstances: As for `save_resume`.
        log: The run's log files.
        previews: The generator of previews; None for a run without previews.
    """

    def __init__(
        self, run: Run, resolved: ResolvedSpec, circumstances: dict[str, str], log: RunLog, previews: Previews | None
    ) -> None:
        self._run = run
        self._spec = resolved.spec
        self._resolved = resolved
        self._circumstances = circumstances
        self._log = log
        self._previews = previews
        self._kept = KeptSteps(run.state.folder)
        self.clock = StepClock()
        self.last_finite: Embedding | None = None
        "The newest vectors of the run that are known to be finite."
        self.stopped = False
        "Whether the run was stopped before its end."
        self.stopped_early = False
        "Whether early stopping ended the run."
        self._unread: list[tuple[int, float, torch.Tensor]] = []
        self._points: list[tuple[int, float]] = []
        self._began = self._reported = 0.0

    def __call__(self, event: Event) -> None:
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
        state = event.state
        self._points = self._log.go_back(state.step)
        self._unread.clear()
        self.last_finite = self._run.embedding(state.ema, state.step) if state.step else None
        if state.step == 0:
            self._save_resume(state)
            self._add_previews(0, self._run.start)
        elif self._lacks_previews(state.step):
            self._add_previews(state.step, self._run.embedding(state.ema, state.step))
        self._log.event("started", state.step, steps=event.steps, seconds=self._run.state.seconds)
        self._began = time.monotonic() - self._run.state.seconds
        self._reported = time.monotonic()
        # A killed run may have published later evaluations than those that it is resumed from.
        self._run.publish(status="running", step=state.step, **_evaluation_fields(state))
        self.clock.start()

    def _on_stepped(self, event: Stepped) -> None:
        self.clock.count_step()
        self._unread.append((event.step, event.rate, event.loss))
        saves, draws = (bool(every) and event.step % every == 0 for every in (self._spec.save_every, self._spec.preview_every))
        if saves or draws or time.monotonic() - self._reported >= REPORT_SECONDS or event.step == 1:
            self._report(event.state)
        if saves:
            self._save_snapshot(event.step, self.last_finite)
            self._save_resume(event.state)
        if draws and self.last_finite is not None:
            self._add_previews(event.step, self.last_finite)
        if saves or draws:
            self.clock.skip()

    def _on_evaluated(self, event: Evaluated) -> None:
        state = event.state
        changes = _evaluation_fields(state)
        self.clock.finish_evaluation()
        self._log.event("evaluated", state.step, score=changes["evaluations"][-1][1], losses=_numbers(event.evaluation.losses))
        evaluated = [evaluation.step for evaluation in state.evaluations]
        saved = self._run.state.saved_step  # by the part of the run before it was resumed
        others = {step for step in evaluated if self._has_own_files(step) or step == saved}
        self._kept.keep_evaluated(state.step, self._run.embedding(state.ema, state.step), evaluated, others)
        self._run.publish(**changes)

    def _on_ended(self, event: Ended) -> None:
        state = event.state
        self.stopped = event.stopped
        self.stopped_early = not event.stopped and state.ending is not None and state.ending < self._resolved.steps
        if self._unread:
            self._report(state)
        if state.step:
            self._save_resume(state)
        if self.last_finite is not None and self.last_finite.step == (self._run.start.step or 0) + state.step:
            self._kept.keep(state.step, self.last_finite)
        if not event.stopped:
            self._run.publish(steps=self._resolved.last_step(state.ending, state.extensions))
        self._log.event("ended", state.step, stopped=event.stopped, verdict=state.verdict.value)

    def _report(self, state: TrainState) -> None:
        """Read the losses since the last report from the device, and keep the vectors.

        If the loss is scaled, steps that overflowed were skipped, and only many such steps in a row are an error.

        Raises:
            TrainingFailed: The loss or the vectors are NaN or infinite.
        """
        import torch

        from train_embedding.engine.training.state import non_finite_loss

        losses = _numbers(torch.stack([loss for _, _, loss in self._unread]))
        self.clock.finish_steps()
        rows = [(step, loss, rate) for (step, rate, _), loss in zip(self._unread, losses, strict=True)]
        rate = rows[-1][2]
        self._unread.clear()
        skipped = state.scale.skipped_in_a_row()
        if state.scale.enabled:
            bad = state.step if state.scale.skips_too_many() else None
            rows = [row for row in rows if math.isfinite(row[1])]
        else:
            bad = next((step for step, loss, _ in rows if not math.isfinite(loss)), None)
        finite = bad is None and all(bool(torch.isfinite(vectors).all()) for vectors in state.vectors.values())
        if finite and skipped < state.step:  # if every step was skipped, these are the vectors of the start
            self.last_finite = self._run.embedding(state.ema, state.step)
        self._log.losses(rows)
        self._run.note(*self._log.problems)
        if not finite:
            raise non_finite_loss(bad or state.step)
        self._points += [(step, loss) for step, loss, _ in rows]
        self._reported = time.monotonic()
        self._publish_progress(state, rate)

    def _publish_progress(self, state: TrainState, rate: float) -> None:
        seconds = self._reported - self._began
        recent = [loss for _, loss in self._points[-_RECENT:]]
        loss = sum(recent) / len(recent) if recent else None
        last = self._resolved.last_step(state.ending, state.extensions)
        latest = last if state.ending is not None else self._resolved.steps
        self._run.publish(
            step=state.step,
            steps=last,
            loss=loss,
            rate=rate,
            seconds=seconds,
            eta_seconds=seconds / state.step * (last - state.step),
            eta_at_most=seconds / state.step * (latest - state.step),
            losses=thinned(self._points),
        )
        name = self._spec.embedding
        text = verbatim(name) if loss is None else msg("{name}: loss {loss:.4f}", name=name, loss=loss)
        self._run.host.report(Progress(state.step, last, text))

    def _save_resume(self, state: TrainState) -> None:
        from train_embedding.engine.training.resume import save_resume

        save_resume(self._run.state.folder, state, self._circumstances)

    def _save_snapshot(self, step: int, embedding: Embedding | None) -> None:
        """Write the vectors of a step as a snapshot, unless there are none because every step so far was skipped."""
        from train_embedding.embeddings.formats import write_embedding

        if embedding is None:
            return
        file = self._run.state.folder / SNAPSHOTS / f"{self._spec.embedding}-{step}.pt"
        write_embedding(embedding, file)
        files = self._run.state.files
        if file not in files:
            self._run.publish(files=(*files, file))

    def _lacks_previews(self, step: int) -> bool:
        """Whether the run ended between saving a step and generating its previews."""
        if self._previews is None or not self._spec.preview_every or step % self._spec.preview_every:
            return False
        generated = {file.name for file in self._run.state.previews}
        return any(file.name not in generated or not file.exists() for file in self._previews.files(step))

    def _has_own_files(self, step: int) -> bool:
        """Whether a step has previews or a snapshot."""
        return any(bool(every) and step % every == 0 for every in (self._spec.save_every, self._spec.preview_every))

    def _add_previews(self, step: int, embedding: Embedding) -> None:
        if self._previews is None:
            return
        self._kept.keep(step, embedding)
        began, generated = self.clock.now(), 0
        for file in self._previews.generate(step, embedding):
            generated += 1
            if file not in self._run.state.previews:
                self._run.publish(previews=(*self._run.state.previews, file))
        self.clock.add_previews(began, generated * self._spec.preview_steps)
        self._run.note(*self._previews.problems)


def _evaluation_fields(state: TrainState) -> dict[str, Any]:
    """Return the fields of `RunState` about evaluations."""
    from train_embedding.engine.training.early_stopping import best_evaluation, scores

    if not state.evaluations:
        return {"evaluations": (), "best_step": None}
    scored = zip(state.evaluations, scores(state.evaluations), strict=True)
    curve = tuple((evaluation.step, score, float(evaluation.losses.mean())) for evaluation, score in scored)
    return {"evaluations": curve, "best_step": state.evaluations[best_evaluation(state.evaluations)].step}


def _numbers(values: torch.Tensor) -> list[float]:
    """Return the values of a tensor [N]. This waits for its device."""
    return cast("list[float]", values.tolist())  # pyright: ignore[reportUnknownMemberType]
