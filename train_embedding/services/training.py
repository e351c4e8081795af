"""One training run from its spec to its files: the engine's loop with the listeners that report, save and preview."""

from __future__ import annotations

import csv
import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.storage import storage_failed, write_atomically
from train_embedding.engine.events import Ended, Event, Started, Stepped
from train_embedding.engine.spec import ResolvedSpec, TrainingSpec, resolve
from train_embedding.errors import TrainingFailed
from train_embedding.hosts.base import Host, Progress, Txt2ImgRequest
from train_embedding.services.library import Library
from train_embedding.services.pictures import prepare_pictures
from train_embedding.services.run_state import RunState, thinned

if TYPE_CHECKING:
    import torch

    from train_embedding.engine.model import DiffusionModel

REPORT_SECONDS = 1.0
"Losses are read from the device, and the state written, this often and not every step."
_RECENT = 20

logger = logging.getLogger(__name__)

Update = Callable[..., RunState]
"Changes fields of the run's state, publishes it and returns it."


class Training:
    """Runs in one thread, inside the host's queue.

    publish: called with the fields of the state that changed. should_stop: whether somebody asked for the end.
    """

    def __init__(self, host: Host, library: Library, state: RunState, publish: Update, should_stop: Callable[[], bool]) -> None:
        self._host = host
        self._library = library
        self._spec = TrainingSpec.from_json(state.spec)
        self._state = state
        self._publish_fields = publish
        self._should_stop = should_stop
        self._start = library.read(self._spec.embedding)
        self._good: Embedding | None = None
        "The newest vectors that were seen to be finite and belong to the run."
        self._unread: list[tuple[int, float, torch.Tensor]] = []
        self._points: list[tuple[int, float]] = []
        self._resolved: ResolvedSpec | None = None
        self._previews_work = True
        self._began = self._reported = 0.0

    def work(self) -> None:
        """The whole run. Whatever ends it, the newest good vectors are written first; raises what the engine raises."""
        import torch

        with self._host.exclusive(f"Training {self._spec.embedding}"):
            if self._stopping():  # while it waited for the host
                return
            self._publish(status="preparing")
            try:
                with self._host.model() as model, torch.inference_mode(False), torch.enable_grad():
                    self._train(model)
            except torch.cuda.OutOfMemoryError as error:
                raise TrainingFailed("The GPU ran out of memory.", "Use a smaller batch size, or smaller pictures.") from error
            finally:
                if self._good is not None:
                    self._write_result(self._good)

    def _train(self, model: DiffusionModel) -> None:
        from train_embedding.engine.latents import LatentDataset
        from train_embedding.engine.loop import train

        resolved = self._resolved = resolve(self._spec, model.resolution)
        self._note_schedule(resolved)
        self._publish(steps=resolved.steps)
        pictures, notes = prepare_pictures(self._host, model, resolved, self._state.folder, self._stopping)
        self._note(*notes)
        if self._stopping():
            return
        vectors = {key: tensor.to(model.device).clone().requires_grad_() for key, tensor in self._start.vectors.items()}
        dataset = LatentDataset(pictures, resolved, self._start.count, model.device)
        train(model, vectors, dataset, resolved, self._listen, self._stopping)

    def _stopping(self) -> bool:
        return self._should_stop() or self._host.interrupted()

    def _listen(self, event: Event) -> None:
        if isinstance(event, Started):
            self._preview(0, self._start)
            self._began = self._reported = time.monotonic()
            self._publish(status="running")
        elif isinstance(event, Stepped):
            self._unread.append((event.step, event.rate, event.loss))
            due = [every and event.step % every == 0 for every in (self._spec.save_every, self._spec.preview_every)]
            if any(due) or time.monotonic() - self._reported >= REPORT_SECONDS or event.step == 1:
                self._report(event)
            if due[0]:
                self._save_snapshot(event.step)
            if due[1] and self._good is not None:
                self._preview(event.step, self._good)
            self._last = event
        elif isinstance(event, Ended) and self._unread:
            self._report(self._last)

    def _report(self, event: Stepped) -> None:
        """Reads the losses since the last report, and keeps the vectors. Raises TrainingFailed at NaN or infinity."""
        import torch

        losses = cast("list[float]", torch.stack([loss for _, _, loss in self._unread]).tolist())  # pyright: ignore[reportUnknownMemberType]
        rows = [(step, loss, rate) for (step, rate, _), loss in zip(self._unread, losses, strict=True)]
        self._unread.clear()
        bad = next((step for step, loss, _ in rows if not math.isfinite(loss)), None)
        finite = bad is None and all(bool(torch.isfinite(vectors).all()) for vectors in event.vectors.values())
        if finite:
            self._good = self._embedding(event)
        _append_csv(self._state.folder / "loss.csv", rows)
        if not finite:
            raise TrainingFailed(
                f"The loss became NaN or infinite at step {bad or event.step}.",
                "Try a lower learning rate; on a GPU without full precision, start the host with --no-half.",
            )
        self._points += [(step, loss) for step, loss, _ in rows]
        self._reported = time.monotonic()
        self._publish_progress(event)

    def _publish_progress(self, event: Stepped) -> None:
        seconds = self._reported - self._began
        recent = [loss for _, loss in self._points[-_RECENT:]]
        loss = sum(recent) / len(recent)
        eta = seconds / event.step * (self._state.steps - event.step)
        self._publish(
            step=event.step,
            loss=loss,
            rate=event.rate,
            seconds=seconds,
            eta_seconds=eta,
            losses=thinned(self._points),
        )
        self._host.report(Progress(event.step, self._state.steps, f"{self._spec.embedding}: loss {loss:.4f}"))

    def _embedding(self, event: Stepped) -> Embedding:
        info = self._host.info()
        done = (self._start.step or 0) + event.step
        return Embedding(self._spec.embedding, event.vectors, done, info.checkpoint_name or None, info.checkpoint_hash or None)

    def _save_snapshot(self, step: int) -> None:
        from train_embedding.embeddings.formats import write_embedding

        assert self._good is not None
        file = self._state.folder / "snapshots" / f"{self._spec.embedding}-{step}.pt"
        write_embedding(self._good, file)
        self._publish(files=(*self._state.files, file))

    def _preview(self, step: int, embedding: Embedding) -> None:
        spec, resolved = self._spec, self._resolved
        if resolved is None or not spec.preview_every or not self._previews_work or self._stopping():
            return
        request = Txt2ImgRequest(
            prompt=spec.preview_prompt.replace("[name]", spec.embedding),
            negative_prompt=spec.preview_negative_prompt.replace("[name]", spec.embedding),
            steps=spec.preview_steps,
            guidance=spec.preview_guidance,
            seed=spec.preview_seed,
            width=resolved.width,
            height=resolved.height,
            embeddings=(embedding,),
        )
        try:
            picture = self._host.txt2img(request)
        except Exception as error:  # whatever the host's generator raises: the training matters more than its pictures
            logger.exception("The preview at step %d failed", step)
            self._previews_work = False
            self._note(f"The preview at step {step} failed, so no more are drawn: {error or type(error).__name__}")
            return
        if self._stopping():  # the host may have broken off in the middle of it
            return
        file = self._state.folder / "previews" / f"{step:07d}.png"
        _save_png(picture, file)
        self._publish(previews=(*self._state.previews, file))

    def _write_result(self, embedding: Embedding) -> None:
        entry = self._library.save(embedding)
        self._publish(files=(entry.file, *self._state.files))

    def _note_schedule(self, resolved: ResolvedSpec) -> None:
        if resolved.steps < self._spec.steps:
            self._note(f"The learning rate schedule ends at step {resolved.steps}, so the run does too.")

    def _note(self, *sentences: str) -> None:
        if sentences:
            self._publish(notes=(*self._state.notes, *sentences))

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


def _append_csv(file: Path, rows: list[tuple[int, float, float]]) -> None:
    try:
        new = not file.exists()
        with file.open("a", newline="") as opened:
            writer = csv.writer(opened)
            if new:
                writer.writerow(("step", "loss", "learning_rate"))
            writer.writerows(rows)
    except OSError as error:
        raise storage_failed(file, error) from error


def _save_png(picture: object, file: Path) -> None:
    from io import BytesIO

    from PIL import Image

    assert isinstance(picture, Image.Image)
    data = BytesIO()
    picture.save(data, "PNG")
    write_atomically(file, data.getvalue())
