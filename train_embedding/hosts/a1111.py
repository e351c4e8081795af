"""The AUTOMATIC1111 Stable Diffusion WebUI as a host. Only the WebUI's own process can import this.

It relies on these names of the WebUI, read in 1.10.1:

    call_queue      queue_lock (FIFO, not re-entrant); its _pending_threads and _lock
    progress        create_task_id, add_task_to_queue, start_task, finish_task, pending_tasks
    shared          state (begin, end and the fields in a1111_txt2img.PROGRESS), cmd_opts
    sd_models       model_data.sd_model (shared.sd_model without loading one)
    sd_hijack       model_hijack.embedding_db: word_embeddings, skipped_embeddings, load_textual_inversion_embeddings
    processing      StableDiffusionProcessing, StableDiffusionProcessingTxt2Img: cached_c, cached_uc, cached_hr_c, cached_hr_uc
    sd_samplers     all_samplers
    devices         device, dtype_unet

What it relies on of the loaded checkpoint stands in hosts/a1111_model.py, of picture making in hosts/a1111_txt2img.py.
"""

from __future__ import annotations

import functools
import html
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from modules import (
    call_queue,
    devices,
    launch_utils,
    paths_internal,
    processing,
    sd_hijack,
    sd_models,
    sd_samplers,
    shared,
)
from modules import progress as tasks

from train_embedding.embeddings.create import takes_whole_text
from train_embedding.errors import HostFailed
from train_embedding.hosts.a1111_model import (
    checkpoint_facts,
    diffusion_model,
    keeps_weights_to_itself,
    key_of,
    loaded_model,
    on_device,
    out_of_the_way,
    take_networks_out,
    text_encoders,
    why_no_training,
    widths_of,
)
from train_embedding.hosts.a1111_txt2img import PROGRESS, draw
from train_embedding.hosts.base import HostInfo, LoadedEmbeddings, Progress, Txt2ImgRequest

if TYPE_CHECKING:
    from PIL import Image

    from train_embedding.engine.model import DiffusionModel

_WAKING_SECONDS = 0.5
"A job that was first in the queue has taken its turn by then, or ended it already."


class A1111Host:
    """`hosts.base.Host` over the WebUI's modules."""

    def __init__(self) -> None:
        self._reloading = threading.Lock()
        self._job: str | None = None
        self._task: str | None = None  # its id in the WebUI's queue
        self._worker: int | None = None  # the thread inside `exclusive`
        self._interrupted = False
        self._borrowed: dict[str, Any] | None = None  # settings that must hold while the model is borrowed

    def info(self) -> HostInfo:
        sd_model = sd_models.model_data.sd_model
        return HostInfo(
            name=f"AUTOMATIC1111 WebUI {_version()}",
            embeddings_folder=Path(shared.cmd_opts.embeddings_dir),
            runs_folder=_runs_folder(),
            templates_folder=Path(shared.cmd_opts.textual_inversion_templates_dir),
            device=str(devices.device),
            dtype=str(devices.dtype_unet).removeprefix("torch."),
            samplers=tuple(sampler.name for sampler in sd_samplers.all_samplers),
            allowed_folders=_allowed_folders(),
            **({} if sd_model is None else checkpoint_facts(sd_model)),
        )

    @contextmanager
    def model(self) -> Iterator[DiffusionModel]:
        """The loaded checkpoint over the WebUI's own weights, or read from its file where these are quantised or on the move.

        Inside `exclusive`, the weights are on the WebUI's device and are those of the checkpoint alone: a Lora of the last
        picture is taken out of them, as the WebUI does before its next picture. Outside, they are as they happen to be. While a
        model read from the file is on the device, the WebUI's own waits in main memory.
        """
        sd_model = loaded_model()
        if reason := why_no_training(sd_model):
            raise HostFailed(reason)
        with ExitStack() as stack:
            if self._worker == threading.get_ident():
                stack.enter_context((out_of_the_way if keeps_weights_to_itself(sd_model) else on_device)(sd_model))
                stack.enter_context(self._borrow(sd_model))
                take_networks_out(sd_model)
            yield diffusion_model(sd_model)

    def token_embeddings(self, text: str, count: int | None = None) -> dict[str, torch.Tensor]:
        """Needs no queue, no diffusers, and no particular model family or memory setting."""
        encoders = text_encoders(loaded_model())
        if not encoders:
            raise HostFailed("The loaded checkpoint's text encoder takes no embeddings.")
        cut = None if takes_whole_text({key_of(weight): weight.shape[1] for _, weight in encoders}) else count
        tables = {}
        for encoder, weight in encoders:
            ids = torch.tensor(encoder.tokenize([text])[0][:cut], dtype=torch.long, device=weight.device)
            tables[key_of(weight)] = weight.detach()[ids].float().cpu()
        return tables

    def vocabulary(self) -> dict[str, torch.Tensor]:
        """Loads no checkpoint where none is loaded: looking at a file is no reason for that."""
        sd_model = sd_models.model_data.sd_model
        if sd_model is None:
            raise HostFailed("The WebUI has no checkpoint loaded.", "Choose one at the top of its page.")
        encoders = text_encoders(sd_model)
        if not encoders:
            raise HostFailed("The loaded checkpoint's text encoder takes no embeddings.")
        return {key_of(weight): weight.detach() for _, weight in encoders}

    @contextmanager
    def exclusive(self, job: str) -> Iterator[None]:
        task = tasks.create_task_id("train-embedding")
        tasks.add_task_to_queue(task)
        try:
            with call_queue.queue_lock:
                self._job, self._task, self._worker, self._interrupted = job, task, threading.get_ident(), False
                shared.state.begin(job=job)
                shared.state.job_count = shared.state.sampling_steps = 0
                tasks.start_task(task)
                try:
                    yield
                finally:
                    task = self._task  # giving way has changed it
                    self._job = self._task = self._worker = None
                    shared.state.end()
                    shared.state.interrupted = shared.state.stopping_generation = shared.state.skipped = False
        finally:
            tasks.pending_tasks.pop(task, None)
            tasks.finish_task(task)

    def give_way(self) -> None:
        queue = call_queue.queue_lock
        if not queue._pending_threads:
            return
        lent = loaded_model()
        title, apart = lent.sd_checkpoint_info.title, keeps_weights_to_itself(lent)
        with ExitStack() as stack:
            stack.enter_context(self._away())
            if apart:
                sd_models.send_model_to_device(lent)
            queue.release()
            deadline = time.monotonic() + _WAKING_SECONDS
            while not queue._lock.locked() and time.monotonic() < deadline:  # until the first in line has taken it
                time.sleep(0.001)
            queue.acquire()
        sd_model = sd_models.model_data.sd_model
        if sd_model is not lent or sd_model.sd_checkpoint_info.title != title or keeps_weights_to_itself(sd_model) != apart:
            raise HostFailed(
                "The WebUI loaded another checkpoint meanwhile, or the same in another way.",
                f'Load "{title}" again, and resume the run.',
            )
        if apart:
            sd_models.send_model_to_cpu(sd_model)
        elif next(sd_model.parameters()).device.type != torch.device(devices.device).type:
            sd_models.send_model_to_device(sd_model)
        take_networks_out(sd_model)

    @contextmanager
    def _away(self) -> Iterator[None]:
        """The WebUI's progress belongs to others until exit, and the run stands in their queue."""
        job, worker, borrowed = self._job, self._worker, self._borrowed
        progress = {name: getattr(shared.state, name) for name in PROGRESS}
        assert self._task is not None
        shared.state.end()
        tasks.finish_task(self._task)
        self._task = tasks.create_task_id("train-embedding")
        tasks.add_task_to_queue(self._task)
        self._job = self._worker = self._borrowed = None
        try:
            yield
        finally:
            self._job, self._worker, self._borrowed = job, worker, borrowed
            shared.state.begin(job=job)
            tasks.start_task(self._task)
            for name, value in progress.items():
                setattr(shared.state, name, value)

    def report(self, progress: Progress) -> None:
        """Everything is written each time: a quick handler of the WebUI that ends meanwhile clears the state."""
        state = shared.state
        if self._job is not None:
            state.job = self._job
        state.job_count, state.job_no = progress.steps, progress.step
        state.sampling_steps = state.sampling_step = 0
        state.textinfo = html.escape(progress.text)

    def interrupted(self) -> bool:
        """The button means `stopping_generation` where more than one picture is expected, which our step counts look like."""
        state = shared.state
        self._interrupted = self._interrupted or state.interrupted or state.stopping_generation
        return self._interrupted

    def reload_embeddings(self) -> None:
        """Outside the queue, as the refresh button of the WebUI's cards does it: it must work during a training run.

        With no checkpoint loaded there is nothing to do: the WebUI reads the folder when it loads one.
        """
        if sd_models.model_data.sd_model is None:
            return
        with self._reloading:
            sd_hijack.model_hijack.embedding_db.load_textual_inversion_embeddings(force_reload=True)
        _forget_conditioning()

    def loaded_embeddings(self) -> LoadedEmbeddings:
        database = sd_hijack.model_hijack.embedding_db
        sd_model = sd_models.model_data.sd_model
        widths = {} if sd_model is None else widths_of(sd_model)
        left_out = {
            name: f"Its vectors are {embedding.shape} wide, those of the loaded checkpoint {sum(widths.values())}."
            for name, embedding in list(database.skipped_embeddings.items())
        }
        return LoadedEmbeddings(frozenset(list(database.word_embeddings)), left_out)

    def txt2img(self, request: Txt2ImgRequest) -> Image.Image:
        """Always-on scripts of other extensions do not run, and nothing is saved; all else is as behind Generate."""
        return draw(request, self._borrowed)

    @contextmanager
    def _borrow(self, sd_model: Any) -> Iterator[None]:
        """Previews of this time are made under the settings of its beginning: the WebUI's picture making loads another
        checkpoint, or the same in fp8, into the very weights being trained on, once somebody has changed these settings."""
        self._borrowed = {"fp8_storage": shared.opts.fp8_storage, "sd_model_checkpoint": sd_model.sd_checkpoint_info.title}
        try:
            yield
        finally:
            self._borrowed = None


def _forget_conditioning() -> None:
    """The WebUI's cache of encoded prompts does not know which embeddings they used."""
    job, txt2img = processing.StableDiffusionProcessing, processing.StableDiffusionProcessingTxt2Img
    job.cached_c, job.cached_uc = [None, None], [None, None]
    txt2img.cached_hr_c, txt2img.cached_hr_uc = [None, None], [None, None]


def _runs_folder() -> Path:
    """The WebUI serves its whole data folder to the browser, except what lies under a name that starts with a dot."""
    return Path(paths_internal.data_path).absolute() / ".train-embedding" / "runs"


def _allowed_folders() -> tuple[Path, ...] | None:
    options = shared.cmd_opts
    if not (options.webui_is_non_local or options.hide_ui_dir_config):
        return None
    named = getattr(options, "train_embedding_allow", None) or []
    return tuple(Path(folder).absolute() for folder in [paths_internal.data_path, *named])


@functools.cache
def _version() -> str:
    return launch_utils.git_tag()
