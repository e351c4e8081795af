"""One training run from its spec to its files: what it learns from, the engine's loop, and which vectors are kept."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from train_embedding.embeddings.embedding import Embedding
from train_embedding.engine.config.spec import ResolvedSpec, resolve
from train_embedding.engine.process_group import SINGLE_PROCESS, Processes
from train_embedding.errors import HostFailed, TrainingFailed
from train_embedding.hosts.base import Host
from train_embedding.services.library.library import Library
from train_embedding.services.run_records import RunState, load_start
from train_embedding.services.training.candidates import best_start
from train_embedding.services.training.image_report import prepare_pictures
from train_embedding.services.training.live_run import LiveRun, Update
from train_embedding.services.training.previews import Previews
from train_embedding.services.training.recorder import Recorder
from train_embedding.services.training.run_log import RunLog

if TYPE_CHECKING:
    from train_embedding.engine.data.latents import EncodedPicture, LatentDataset
    from train_embedding.engine.model.conditioning import Conditioning
    from train_embedding.engine.model.diffusion_model import DiffusionModel
    from train_embedding.engine.training.core_loss import ContextTerm
    from train_embedding.engine.training.early_stopping import Diagnosis
    from train_embedding.engine.training.loop import Evaluate, Gradient
    from train_embedding.engine.training.state import TrainState

EVALUATION_ITEMS = 32
_EXPLANATIONS: dict[Diagnosis, str] = {
    "loss rose": "The loss on fixed noise rose: try a lower learning rate.",
    "hardly moved": "The vectors hardly moved: try a higher learning rate, or more steps.",
    "no gain": (
        "The vectors moved, but the loss did not fall: the initialization text may already describe what the images show, the "
        "captions may describe it in other words, or the images have nothing in common that the checkpoint can draw."
    ),
}


class Training:
    """Runs in one thread, inside the host's queue; a run that was interrupted goes on from what its folder holds.

    update: called with the fields of the state that change. should_stop: whether somebody asked for the end. processes: those
    that share the work, of which this is the main one.
    """

    def __init__(
        self,
        host: Host,
        library: Library,
        state: RunState,
        update: Update,
        should_stop: Callable[[], bool],
        processes: Processes = SINGLE_PROCESS,
    ) -> None:
        self._host = host
        self._library = library
        start = load_start(state) or library.read(state.embedding)
        self._live = LiveRun(host, state, start, update)
        self._spec = self._live.spec
        self._should_stop = should_stop
        self._processes = processes
        self._log = RunLog(state.folder)
        self._recorder: Recorder | None = None
        self._train_state: TrainState | None = None

    def work(self) -> None:
        """The whole run. Whatever ends it, the vectors to keep are written first; raises what the engine raises."""
        import torch

        with self._host.exclusive(f"Training {self._spec.embedding}"):
            if self._stopping():  # while it waited for the host
                return
            self._live.publish(status="preparing")
            try:
                with self._host.model() as model, torch.inference_mode(False), torch.enable_grad():
                    self._train(model)
            finally:
                try:
                    self._log.close()
                finally:
                    self._write_result()

    def _train(self, model: DiffusionModel) -> None:
        from train_embedding.engine.data.latents import LatentDataset
        from train_embedding.engine.training.distill import bare_captions

        self._live.trained_on = self._host.info()
        resolved = resolve(self._spec, model.resolution)
        if resolved.steps < self._spec.steps:
            self._live.note(f"The learning rate schedule ends at step {resolved.steps}, so the run does too.")
        self._live.publish(steps=resolved.steps)
        pictures, teacher = self._pictures_and_teacher(model, resolved)
        if self._stopping():
            return
        captioned = resolved if teacher is None else bare_captions(resolved)
        dataset = LatentDataset(pictures, captioned, self._live.start.count, model.device, teacher, self._processes)
        evaluate = self._evaluation(model, dataset)
        words = self._spec.candidate_words()
        if words and load_start(self._live.state) is None:
            self._live.start, said = best_start(model, self._live.start, words, evaluate)
            self._live.note(said, lasting=True)
        circumstances = self._read_circumstances(model, pictures)
        self._train_state = self._new_or_saved_state(model, resolved, circumstances)
        self._live.keep_start()
        folder = self._live.state.folder
        previews = Previews(self._host, resolved, folder, self._log, self._stopping) if self._spec.preview_every else None
        self._recorder = Recorder(self._live, resolved, circumstances, self._log, previews)
        gradient = self._shared_gradient(captioned, pictures)
        self._train_with_less_memory_if_need_be(model, dataset, resolved, evaluate, gradient)

    def _pictures_and_teacher(
        self, model: DiffusionModel, resolved: ResolvedSpec
    ) -> tuple[list[EncodedPicture], Conditioning | None]:
        """What the run learns from: the folder's pictures, or scenes and the prompt to distil."""
        from train_embedding.engine.training.distill import draw_scenes, encode_teacher

        if self._spec.distills:
            return draw_scenes(model, resolved, self._stopping), encode_teacher(model, self._spec.teacher_prompt)
        pictures, notes = prepare_pictures(self._host, model, resolved, self._live.state.folder, self._stopping)
        self._live.note(*notes)
        return pictures, None

    def _shared_gradient(self, resolved: ResolvedSpec, pictures: list[EncodedPicture]) -> Gradient | None:
        """Hands the other processes what they learn from; None where there are none."""
        count = self._processes.count
        if count == 1:
            return None
        from train_embedding.engine.training.data_parallel import DistributedGradient, WorkerSetup

        self._live.note(f"Trained by {count} processes, {count * self._spec.batch_size} pictures in a batch.")
        return DistributedGradient(self._processes, WorkerSetup(resolved, pictures, self._live.start.count))

    def _train_with_less_memory_if_need_be(
        self,
        model: DiffusionModel,
        dataset: LatentDataset,
        resolved: ResolvedSpec,
        evaluate: Evaluate,
        gradient: Gradient | None,
    ) -> None:
        from train_embedding.engine.devices import is_out_of_memory, release_cached_memory
        from train_embedding.engine.runtime.gradient_checkpointing import checkpointed
        from train_embedding.engine.training.loop import train

        state, recorder = self._train_state, self._recorder
        assert state is not None
        assert recorder is not None
        term = self._context_term(model)
        with ExitStack() as stack:
            for attempt in (1, 2):
                try:
                    train(model, state, dataset, resolved, evaluate, recorder, self._stopping_or_giving_way, term, gradient)
                    break
                except RuntimeError as error:
                    if not is_out_of_memory(error):
                        raise
                    if attempt == 2:
                        raise TrainingFailed(
                            "There was not enough memory for a training step.", "Use a smaller batch size, or smaller images."
                        ) from error
                # Outside the handler, whose traceback would hold on to the memory.
                stack.enter_context(checkpointed(model))
                release_cached_memory(model.device)
                self._live.note(
                    f"Memory ran out at step {state.step + 1}; the run continues with gradient "
                    "checkpointing, which needs less and is slower."
                )
            if recorder.stopped and state.step and state.evaluations and not state.evaluated:
                state.record(evaluate(state.average))  # after saving: a run that goes on never makes this evaluation

    def _evaluation(self, model: DiffusionModel, dataset: LatentDataset) -> Evaluate:
        import torch

        from train_embedding.engine.training.evaluation import fixed_losses, training_items

        wanted = self._spec.eval_every or self._spec.candidate_words()
        groups = training_items(model, dataset, EVALUATION_ITEMS, self._spec.seed) if wanted else []
        return lambda vectors: torch.cat([fixed_losses(model, vectors, items) for items in groups])

    def _context_term(self, model: DiffusionModel) -> ContextTerm | None:
        from train_embedding.engine.training.core_loss import ContextTerm

        if not self._spec.core_loss_weight:
            return None
        start = {key: tensor.to(model.device) for key, tensor in self._live.start.vectors.items()}
        return ContextTerm(model, start, self._spec.seed)

    def _read_circumstances(self, model: DiffusionModel, pictures: list[EncodedPicture]) -> dict[str, str]:
        """What the vectors of every later step depend on, beside the spec and the vectors of now."""
        from train_embedding.engine.training.resume import pictures_digest

        info = self._live.trained_on or self._host.info()
        several = {"the number of processes": str(self._processes.count)} if self._processes.count > 1 else {}
        return {
            **several,
            "the pictures or their captions": pictures_digest(pictures),
            "the checkpoint": f"{info.checkpoint_name} {info.checkpoint_hash}",
            "the clip skip setting": " ".join(str(encoder.layer) for encoder in model.text_encoders),
            "the device": f"{info.device} {info.dtype}",
        }

    def _new_or_saved_state(self, model: DiffusionModel, resolved: ResolvedSpec, circumstances: dict[str, str]) -> TrainState:
        from train_embedding.engine.runtime.precision import passes_fp16
        from train_embedding.engine.training.resume import load_resume
        from train_embedding.engine.training.state import new_state

        state = new_state(self._live.start.vectors, resolved, model.device, scales_loss=passes_fp16(model))
        load_resume(self._live.state.folder, state, circumstances)
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
            self._live.note(f"The run was ended: {error}")
            return True
        return self._stopping()

    def _write_result(self) -> None:
        """Writes the vectors to keep into the embeddings folder; nothing where no step was better than the start, unless the
        run has written others there before it was resumed."""
        chosen = self._chosen()
        if chosen is None:
            return
        entry = self._library.save(chosen, by_run=True)
        self._live.publish(files=(entry.file, *(file for file in self._live.state.files if file != entry.file)))

    def _chosen(self) -> Embedding | None:
        from train_embedding.engine.training.early_stopping import Verdict, diagnose

        state, recorder = self._train_state, self._recorder
        if state is None or recorder is None or recorder.good is None:
            return None
        if self._spec.keep == "last" or len(state.evaluations) < 2:
            return recorder.good
        step, vectors = state.chosen(after=0 if recorder.stopped else -1)
        explanation = _EXPLANATIONS[diagnose(state.evaluations, state.moved())]
        if not step:
            self._live.note(f"No step was better than the start, so the embedding is unchanged. {explanation}")
            return None if self._live.state.result is None else self._live.start
        if state.verdict is Verdict.NOT_LEARNING:
            self._live.note(explanation)
        self._live.publish(best_step=step)
        return self._live.embedding(vectors, step)


def run_worker(host: Host, processes: Processes) -> None:
    """Compute this process's share of every step of the main process's run, until that process ends; write no file.

    Raises:
        HostFailed: No checkpoint is loaded.
        TrainingFailed: The main process is gone.
    """
    from train_embedding.engine.training.data_parallel import Worker

    with host.model() as model, Worker(processes, model) as worker:
        processes.serve(worker.handle)
