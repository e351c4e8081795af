"""Work of a run: prepare the training data, run the training loop, and write the resulting vectors."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.metadata import INIT_TEXT
from train_embedding.engine.config.spec import ResolvedSpec, resolve
from train_embedding.engine.process_group import SINGLE_PROCESS, Processes
from train_embedding.errors import HostFailed, TrainEmbeddingError, TrainingFailed, cannot_read
from train_embedding.hosts.base import Host
from train_embedding.messages import NOTHING, SPACE, Message, joined, msg, verbatim
from train_embedding.services.library.library import Entry, Library
from train_embedding.services.run_records import load_start
from train_embedding.services.sidecars.untrusted_images import read_preview
from train_embedding.services.training.image_report import prepare_images
from train_embedding.services.training.kept_steps import KeptSteps
from train_embedding.services.training.previews import Previews
from train_embedding.services.training.recorder import Recorder
from train_embedding.services.training.run import Run
from train_embedding.services.training.run_log import RunLog
from train_embedding.services.training.start_words import choose_start, describe_start, words_to_try
from train_embedding.services.training.step_times import add_step_time, measurement

if TYPE_CHECKING:
    import torch

    from train_embedding.engine.data.latents import EncodedImage, LatentDataset
    from train_embedding.engine.model.conditioning import Conditioning
    from train_embedding.engine.model.diffusion_model import DiffusionModel
    from train_embedding.engine.training.core_loss import CoreLoss
    from train_embedding.engine.training.early_stopping import Diagnosis
    from train_embedding.engine.training.evaluation import EvaluationSet
    from train_embedding.engine.training.graphed_gradient import GraphedGradient
    from train_embedding.engine.training.loop import Evaluate, Gradient
    from train_embedding.engine.training.state import TrainState

EVALUATION_ITEMS = 16
"Number of fixed training items that the evaluation loss is a mean of."
CONFIRMATION_ITEMS = 64
"Number of further items that are evaluated before a run ends as not learning."
_DTYPES = {"torch.float32": "fp32", "torch.float16": "fp16", "torch.bfloat16": "bf16"}
_EXPLANATIONS: dict[Diagnosis, Message] = {
    "loss rose": msg("The evaluation loss rose: try a lower learning rate."),
    "hardly moved": msg("The vectors hardly changed: try a higher learning rate or more steps."),
    "no gain": msg(
        "The vectors changed, but the evaluation loss did not fall. The init text may already describe the images, the captions "
        "may describe the subject in other words, or the images have nothing in common that the checkpoint can draw."
    ),
}


class Trainer:
    """Carries out one run, in one thread and inside the host's queue. An interrupted run is resumed from its folder.

    Args:
        host: The host whose model is trained with.
        library: The library that the result is saved to.
        run: The run, whose state is updated.
        processes: The processes that share the work; this is the main one.
    """

    def __init__(self, host: Host, library: Library, run: Run, processes: Processes = SINGLE_PROCESS) -> None:
        self._host = host
        self._library = library
        self._run = run
        self._spec = run.spec
        self._processes = processes
        self._folder = run.state.folder
        self._log = RunLog(self._folder)
        self._recorder: Recorder | None = None
        self._train_state: TrainState | None = None
        self._graphs: GraphedGradient | None = None
        self._began = 0.0

    def train(self) -> None:
        """Carry out the run. The result is written even if an error ends it.

        Raises:
            TrainEmbeddingError: Any error of the engine, the host or the library.
        """
        import torch

        from train_embedding.engine.runtime.bf16_copy import with_bf16_unet

        with self._host.exclusive(f"Training {self._spec.embedding}"):
            if self._stopping():  # stopped while waiting for the host
                return
            self._began = time.monotonic()
            self._run.publish(status="preparing")
            try:
                with self._host.model() as model, torch.inference_mode(False), torch.enable_grad():
                    self._train_on(with_bf16_unet(model))
            finally:
                try:
                    self._log.close()
                finally:
                    self._write_result()

    def _train_on(self, model: DiffusionModel) -> None:
        from train_embedding.engine.data.latents import LatentDataset
        from train_embedding.engine.runtime.precision import forget_fallbacks
        from train_embedding.engine.training.distill import distillation_spec

        forget_fallbacks(model)
        self._run.trained_on = self._host.info()
        resolved = resolve(self._spec, model.resolution)
        if resolved.steps < self._spec.steps:
            self._run.note(msg("The run ends at step {step}, where the learning rate schedule ends.", step=resolved.steps))
        self._run.publish(steps=resolved.steps, checkpoint=self._run.trained_on.checkpoint_name)
        images, teacher = self._prepare_data(model, resolved)
        if self._stopping():
            return
        captioned = resolved if teacher is None else distillation_spec(resolved)
        dataset = LatentDataset(images, captioned, self._run.start.count, model.device, teacher, self._processes)
        self._choose_start(model, dataset, [image.image.caption for image in images])
        dataset = dataset.with_vectors(self._run.start.count)
        evaluate = self._make_evaluate(model, dataset)
        circumstances = self._collect_circumstances(model, images)
        self._train_state = self._make_train_state(model, resolved, circumstances)
        self._run.save_start()
        self._recorder = Recorder(self._run, resolved, circumstances, self._log, self._make_previews(resolved))
        gradient = self._set_up_workers(captioned, images)
        if gradient is None:
            gradient = self._graphs = self._make_graphs(model, self._train_state)
        self._train_with_retries(model, dataset, resolved, evaluate, gradient)

    def _choose_start(self, model: DiffusionModel, dataset: LatentDataset, captions: Sequence[str]) -> None:
        """Choose the words that a new run starts from, and publish the ranking."""
        tried = words_to_try(self._spec, self._run.start, captions)
        if not tried.words or load_start(self._run.state) is not None:
            return

        def evaluate(vectors: dict[str, torch.Tensor], groups: Sequence[EvaluationSet]) -> torch.Tensor:
            return self._losses(model, vectors, groups)

        self._run.start, ranking = choose_start(model, dataset, self._run.start, tried, evaluate, self._spec.seed, self._stopping)
        if ranking:
            self._run.publish(start_words=ranking)
            self._run.note(describe_start(ranking), lasting=True)

    def _prepare_data(self, model: DiffusionModel, resolved: ResolvedSpec) -> tuple[list[EncodedImage], Conditioning | None]:
        """Prepare the training data: the images of the dataset, or sampled latents and the prompt to distill."""
        from train_embedding.engine.training.distill import encode_teacher, sample_teacher_latents

        if self._spec.distills:
            return sample_teacher_latents(model, resolved, self._stopping), encode_teacher(model, self._spec.teacher_prompt)
        images, notes = prepare_images(self._host, model, resolved, self._folder, self._stopping)
        self._run.note(*notes)
        return images, None

    def _set_up_workers(self, resolved: ResolvedSpec, images: list[EncodedImage]) -> Gradient | None:
        """Set up the other processes, and return the gradient over all of them; None if there are no others."""
        count = self._processes.count
        if count == 1:
            return None
        from train_embedding.engine.training.data_parallel import DistributedGradient, WorkerSetup

        images_per_batch = count * self._spec.batch_size
        self._run.note(
            msg("Trained by {processes} processes with {images} images per batch.", processes=count, images=images_per_batch)
        )
        return DistributedGradient(self._processes, WorkerSetup(resolved, images, self._run.start.count))

    def _make_previews(self, resolved: ResolvedSpec) -> Previews | None:
        if not self._spec.preview_every:
            return None
        return Previews(self._host, resolved, self._folder, self._log, self._stopping, self._release_graphs)

    def _make_graphs(self, model: DiffusionModel, state: TrainState) -> GraphedGradient | None:
        """Return the gradient computed with CUDA graphs; None on other devices, or if they are off or cannot be used."""
        from train_embedding.engine.runtime.cuda_graph import graph_backend, why_not_graphed
        from train_embedding.engine.training.graphed_gradient import GraphedGradient

        backend = graph_backend(model) if self._spec.cuda_graphs else None
        if backend is None:
            return None
        if reason := why_not_graphed(model):
            self._run.note(msg("CUDA graphs are not used: {reason}.", reason=reason))
            return None
        return GraphedGradient(model, self._spec, state.scale, backend, self._run.note)

    def _release_graphs(self) -> None:
        """Free the memory of CUDA graphs, before the host generates images."""
        if self._graphs is not None:
            self._graphs.release()

    def _train_with_retries(
        self,
        model: DiffusionModel,
        dataset: LatentDataset,
        resolved: ResolvedSpec,
        evaluate: Evaluate,
        gradient: Gradient | None,
    ) -> None:
        """Train. If memory runs out, continue with less of it; if steps overflow, in another dtype.

        Raises:
            TrainingFailed: Memory runs out again, or steps overflow in every dtype.
        """
        from train_embedding.engine.devices import is_out_of_memory
        from train_embedding.engine.training.loop import LoopHooks, accumulate_gradient, train

        state, recorder = self._train_state, self._recorder
        assert state is not None
        assert recorder is not None
        preparation = None if state.step else time.monotonic() - self._began
        hooks = LoopHooks(
            evaluate, recorder, self._stopping_after_a_step, self._make_core_loss(model), gradient or accumulate_gradient,
            self._make_confirm(model, dataset), self._untrained(model),
        )  # fmt: skip
        with ExitStack() as stack:
            while True:
                try:
                    train(model, state, dataset, resolved, hooks)
                    break
                except TrainingFailed:
                    if not (state.scale.skips_too_many() and self._fall_back(model)):
                        raise
                    continue
                except RuntimeError as error:
                    if not is_out_of_memory(error):
                        raise
                    if model.unet.is_gradient_checkpointing:
                        raise TrainingFailed(
                            msg("There is not enough memory for a training step."),
                            msg("Use a smaller batch size or smaller images."),
                        ) from error
                self._save_memory(model, stack)  # outside the handler, because its traceback would keep the memory in use
            self._record_times(recorder, resolved, preparation)
            if recorder.stopped and state.step and state.evaluations and not state.evaluated:
                state.record(evaluate(state.ema))  # after saving, so that a resumed run is not affected

    def _record_times(self, recorder: Recorder, resolved: ResolvedSpec, preparation: float | None) -> None:
        """Keep the times of this run's parts, from which later runs are estimated."""
        if self._processes.count > 1:
            return
        info = self._run.trained_on or self._host.info()
        measured = measurement(recorder.clock, resolved, info, preparation)
        if measured is not None:
            add_step_time(info.runs_folder, measured)

    def _save_memory(self, model: DiffusionModel, stack: ExitStack) -> None:
        """Free the CUDA graphs for good or, if there are none, use gradient checkpointing until the end of the stack."""
        from train_embedding.engine.devices import release_cached_memory
        from train_embedding.engine.runtime.gradient_checkpointing import gradient_checkpointing

        if self._graphs is not None and self._graphs.give_up():
            self._run.note(msg("Memory ran out at step {step}. The run continues without CUDA graphs.", step=self._next_step()))
            return
        stack.enter_context(gradient_checkpointing(model))
        release_cached_memory(model.device)
        self._run.note(
            msg(
                "Memory ran out at step {step}. The run continues with gradient checkpointing, which needs less memory "
                "and is slower.",
                step=self._next_step(),
            )
        )

    def _fall_back(self, model: DiffusionModel) -> bool:
        """Compute in another dtype from now on, because the current one overflows. Return whether there is one."""
        from train_embedding.engine.runtime.precision import compute_dtype, fall_back

        before = compute_dtype(model)
        if not fall_back(model, self._train_state and self._train_state.scale):
            return False
        names = {key: verbatim(_DTYPES[str(dtype)]) for key, dtype in (("before", before), ("after", compute_dtype(model)))}
        self._run.note(
            msg(
                "Numbers became too large for {before} at step {step}. The run continues in {after}, which is slower.",
                step=self._next_step(), **names,
            )
        )  # fmt: skip
        return True

    def _next_step(self) -> int:
        return self._train_state.step + 1 if self._train_state else 1

    def _make_evaluate(self, model: DiffusionModel, dataset: LatentDataset) -> Evaluate:
        """Return a function that computes the evaluation losses [N] for given vectors, in another dtype if they overflow."""
        from train_embedding.engine.training.evaluation import dataset_evaluation_sets

        wanted = self._spec.eval_every
        groups = dataset_evaluation_sets(model, dataset, EVALUATION_ITEMS, self._spec.seed) if wanted else []
        return lambda vectors: self._losses(model, vectors, groups)

    def _make_confirm(self, model: DiffusionModel, dataset: LatentDataset) -> Evaluate:
        """Return a function that computes the losses of further items, for any number of vectors."""
        from train_embedding.engine.training.evaluation import dataset_evaluation_sets

        def confirm(vectors: dict[str, torch.Tensor]) -> torch.Tensor:
            resized = dataset.with_vectors(len(next(iter(vectors.values()))))
            return self._losses(model, vectors, dataset_evaluation_sets(model, resized, CONFIRMATION_ITEMS, self._spec.seed + 1))

        return confirm

    def _untrained(self, model: DiffusionModel) -> dict[str, torch.Tensor] | None:
        """Return the vectors of the init text if it was completed for this run."""
        text = self._run.start.metadata.get(INIT_TEXT, "")
        return model.token_embeddings(text) if text and self._run.state.start_words else None

    def _losses(self, model: DiffusionModel, vectors: dict[str, torch.Tensor], groups: Sequence[EvaluationSet]) -> torch.Tensor:
        """Compute the losses [N] of evaluation items; again in another dtype if the first one overflows."""
        import torch

        from train_embedding.engine.training.evaluation import evaluation_losses

        losses = torch.cat([evaluation_losses(model, vectors, items) for items in groups])
        if not bool(losses.isfinite().all()) and self._fall_back(model):
            return self._losses(model, vectors, groups)
        return losses

    def _make_core_loss(self, model: DiffusionModel) -> CoreLoss | None:
        from train_embedding.engine.training.core_loss import CoreLoss

        if not self._spec.core_loss_weight:
            return None
        start = {key: tensor.to(model.device) for key, tensor in self._run.start.vectors.items()}
        return CoreLoss(model, start, self._spec.seed)

    def _collect_circumstances(self, model: DiffusionModel, images: list[EncodedImage]) -> dict[str, str]:
        """Return what the result depends on besides the spec; a run can only be resumed if none of it has changed."""
        from train_embedding.engine.training.resume import dataset_digest

        info = self._run.trained_on or self._host.info()
        dtype = str(model.dtype).removeprefix("torch.") if info.device == "cpu" else info.dtype
        several = {"the number of processes": str(self._processes.count)} if self._processes.count > 1 else {}
        return {
            **several,
            "the pictures or their captions": dataset_digest(images),
            "the checkpoint": f"{info.checkpoint_name} {info.checkpoint_hash}",
            "the clip skip setting": " ".join(str(encoder.layer) for encoder in model.text_encoders),
            "the device": f"{info.device} {dtype}",
        }

    def _make_train_state(self, model: DiffusionModel, resolved: ResolvedSpec, circumstances: dict[str, str]) -> TrainState:
        """Return the state that the loop starts from: the one that was saved last, or that before the first step."""
        from train_embedding.engine.runtime.precision import follow, uses_fp16_gradients
        from train_embedding.engine.training.resume import load_resume
        from train_embedding.engine.training.state import new_state

        state = new_state(self._run.start.vectors, resolved, model.device, scales_loss=uses_fp16_gradients(model))
        load_resume(self._folder, state, circumstances)
        follow(model, state.scale)
        return state

    def _stopping(self) -> bool:
        return self._run.stopping or self._host.interrupted()

    def _stopping_after_a_step(self) -> bool:
        """Let the host's other jobs run, then return whether to stop. If the host changed its model meanwhile, the run stops."""
        if self._stopping():
            return True
        try:
            self._host.yield_queue(self._release_graphs)
        except HostFailed as error:
            self._run.note(msg("The run ended early: {reason}", reason=error.text))
            return True
        return self._stopping()

    def _write_result(self) -> None:
        """Write the result to the embeddings folder.

        If no step was better than the start, nothing is written, unless the run wrote other vectors before it was resumed.
        """
        chosen = self._choose()
        if chosen is None:
            return
        entry = self._library.save(chosen, by_run=True)
        step = (chosen.step or 0) - (self._run.start.step or 0)
        KeptSteps(self._folder).keep(step, chosen)
        files = (entry.file, *(file for file in self._run.state.files if file != entry.file))
        self._run.publish(files=files, saved_step=step)
        if entry.preview is None:
            self._show_on_card(entry, step)

    def _show_on_card(self, entry: Entry, step: int) -> None:
        """Make a preview the card's image: the first of the saved step, or else the newest."""
        previews = self._run.state.previews
        if not previews:
            return
        file = next((file for file in previews if file.stem.partition("-")[0] == f"{step:07d}"), previews[-1])
        try:
            self._library.set_preview(entry.name, read_preview(file), entry.path)
        except TrainEmbeddingError as error:  # the vectors are saved, and that counts
            self._run.note(msg("The card has no image: {reason}", reason=error.text))
        except OSError as error:
            self._run.note(msg("The card has no image: {reason}", reason=cannot_read(file.name, error)))

    def _choose(self) -> Embedding | None:
        """Choose the vectors to keep, and add notes about the choice; None to keep the embedding unchanged."""
        from train_embedding.engine.training.early_stopping import Verdict, diagnose

        state, recorder = self._train_state, self._recorder
        if state is None or recorder is None or recorder.last_finite is None:
            return None
        if self._spec.keep == "last" or len(state.evaluations) < 2:
            self._note_end(state.step)
            return recorder.last_finite
        step, vectors = state.best_vectors(after=0 if recorder.stopped else -1)
        explanation = _EXPLANATIONS[diagnose(state.evaluations, state.relative_change())]
        if not step:
            words = self._run.state.start_words[0][0] if self._run.state.start_words else ""
            saved = (
                msg("No step was better than the start, so the vectors of {words} were saved.", words=verbatim(f'"{words}"'))
                if words
                else msg("No step was better than the start, so the embedding is unchanged.")
            )
            self._run.note(joined((self._why_stopped_early(), saved, explanation), SPACE))
            return self._run.start if words or self._run.state.result is not None else None
        self._note_end(step)
        if state.verdict is Verdict.NOT_LEARNING:
            self._run.note(explanation)
        self._run.publish(best_step=step)
        return self._run.embedding(vectors, step)

    def _note_end(self, step: int) -> None:
        """Add a note about the step that is saved if early stopping ended the run."""
        if why := self._why_stopped_early():
            saved = msg("Saved step {step} of {steps}.", step=step, steps=self._run.state.step)
            self._run.note(joined((why, saved), SPACE))

    def _why_stopped_early(self) -> Message:
        """Return why early stopping ended the run; empty if it did not."""
        from train_embedding.engine.training.early_stopping import Verdict

        state, recorder = self._train_state, self._recorder
        if state is None or recorder is None or not recorder.stopped_early:
            return NOTHING
        if state.verdict is Verdict.CONVERGED:
            return msg("Stopped early: the evaluation loss has plateaued.")
        return msg("Stopped early: the evaluation loss is not falling.")


def run_worker(host: Host, processes: Processes) -> None:
    """Compute this process's share of every step of the main process's run, until that process ends; write no file.

    Raises:
        HostFailed: No checkpoint is loaded.
        TrainingFailed: The main process is gone.
    """
    from train_embedding.engine.runtime.bf16_copy import with_bf16_unet
    from train_embedding.engine.training.data_parallel import Worker

    with host.model() as model, Worker(processes, with_bf16_unet(model)) as worker:
        processes.serve(worker.handle)
