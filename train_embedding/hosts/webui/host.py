"""Base of the hosts for the AUTOMATIC1111 WebUI and its forks. Can be imported only in their processes.

It uses these names of WebUI 1.10.1, Forge dfdcbab6 and reForge 3b56b268:

    call_queue      queue_lock (FIFO, not re-entrant); its _pending_threads and _lock
    progress        create_task_id, add_task_to_queue, start_task, finish_task, pending_tasks
    shared          state (begin, end and the fields in webui/txt2img.PROGRESS), cmd_opts
    processing      StableDiffusionProcessing, StableDiffusionProcessingTxt2Img: cached_c, cached_uc, cached_hr_c, cached_hr_uc
    devices         device, dtype_unet
    launch_utils    git_tag
    paths_internal  data_path
    ui_extra_networks   extra_pages: extra_networks_tabname, create_html(tab)
"""

from __future__ import annotations

import functools
import html
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from modules import call_queue, devices, launch_utils, paths_internal, processing, shared
from modules import progress as tasks

from train_embedding.embeddings.create import takes_whole_text
from train_embedding.errors import HostFailed
from train_embedding.hosts.base import HostInfo, Interrogator, Progress
from train_embedding.hosts.recognition import OWN_FOLDER
from train_embedding.hosts.webui.txt2img import PROGRESS
from train_embedding.messages import Message, msg

if TYPE_CHECKING:
    import torch
    from PIL import Image

_CARDS = "textual_inversion"
_WAKING_SECONDS = 0.5
"Seconds after which the next job in the queue has certainly started."


class WebUIHost(ABC):
    """Implements the queue, progress bar and folders of `hosts.base.Host`; subclasses provide the model."""

    title = ""
    "The program's name."
    file_suffixes: ClassVar[tuple[str, ...]] = HostInfo.file_suffixes
    "As `HostInfo.file_suffixes`."
    how_to_load = msg("Choose a checkpoint at the top of the page.")
    "How to load a checkpoint, as a sentence."

    def __init__(self) -> None:
        self._job: str | None = None
        self._task: str | None = None  # its id in the WebUI's queue
        self._worker: int | None = None  # the thread inside `exclusive`
        self._interrupted = False
        self._reloading = threading.Lock()

    def info(self) -> HostInfo:
        facts: dict[str, Any] = {"dtype": str(devices.dtype_unet).removeprefix("torch."), **self._checkpoint_facts()}
        return HostInfo(
            name=f"{self.title} {self._version()}".rstrip(),
            embeddings_folder=Path(shared.cmd_opts.embeddings_dir),
            runs_folder=_runs_folder(),
            templates_folder=_templates_folder(),
            device=str(devices.device),
            allowed_folders=_allowed_folders(),
            allowed_origins=_allowed_origins(),
            allowed_origins_pattern=getattr(shared.cmd_opts, "cors_allow_origins_regex", None) or "",
            language=_language(),
            runs_pickles=self._runs_pickles(),
            file_suffixes=self.file_suffixes,
            **facts,
        )

    def _version(self) -> str:
        """Return the program's version; empty if it has none."""
        return _git_tag()

    @abstractmethod
    def _checkpoint_facts(self) -> dict[str, Any]:
        """Return the fields of HostInfo about the checkpoint; empty if none is loaded."""

    @abstractmethod
    def _runs_pickles(self) -> bool:
        """Return `HostInfo.runs_pickles`."""

    @abstractmethod
    def _available_model(self) -> Any:
        """Return the program's model; None if none is loaded."""

    @abstractmethod
    def _require_model(self) -> Any:
        """Return the program's model, and load it if necessary.

        Raises:
            HostFailed: No checkpoint could be loaded.
        """

    @abstractmethod
    def _token_tables(self, sd_model: Any) -> list[tuple[str, torch.Tensor, Any]]:
        """Return, per text encoder, its key, its token embedding table [vocabulary size, d], and its tokenizer."""

    @abstractmethod
    def _model_given_back(self) -> AbstractContextManager[None]:
        """Let others use the model until exit.

        Raises:
            HostFailed: On exit, if another checkpoint was loaded.
        """

    def cards_html(self, tab: str) -> str:
        """Return the HTML of the program's own embedding cards for a tab, "txt2img" or "img2img".

        Only these cards are updated: the Refresh button of the cards refreshes every page, which resets the selected checkpoint
        to that of `--ckpt`.
        """
        from modules import ui_extra_networks  # imports gradio

        page = next(page for page in ui_extra_networks.extra_pages if page.extra_networks_tabname == _CARDS)
        with self._reloading:  # otherwise the list may be empty for a moment
            return page.create_html(tab)

    def vocabulary(self) -> dict[str, torch.Tensor]:
        """Return the token embedding tables, [vocabulary size, d], by text encoder: the program's own weights.

        This never loads a checkpoint, which would take too long for inspecting a file.
        """
        sd_model = self._available_model()
        if sd_model is None:
            raise HostFailed(msg("{program} has no checkpoint loaded.", program=self.title), self.how_to_load)
        return {key: weight for key, weight, _ in self._tables(sd_model)}

    def token_embeddings(self, text: str, count: int | None = None) -> dict[str, torch.Tensor]:
        """Look up the token embeddings of a text, with any model family and memory settings, and without diffusers."""
        import torch

        tables = self._tables(self._require_model())
        cut = None if takes_whole_text({key: weight.shape[1] for key, weight, _ in tables}) else count
        rows = {}
        for key, weight, tokenize in tables:
            ids = torch.tensor(tokenize(text)[:cut], dtype=torch.long, device=weight.device)
            rows[key] = weight[ids].float().cpu()
        return rows

    def _tables(self, sd_model: Any) -> list[tuple[str, torch.Tensor, Any]]:
        tables = self._token_tables(sd_model)
        if not tables:
            reason = self._checkpoint_facts().get("why_no_training")
            raise HostFailed(reason or msg("The text encoder of the loaded checkpoint does not support embeddings."))
        return tables

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
                    task = self._task  # `yield_queue` may have changed it
                    self._job = self._task = self._worker = None
                    shared.state.end()
                    shared.state.interrupted = shared.state.stopping_generation = shared.state.skipped = False
        finally:
            tasks.pending_tasks.pop(task, None)
            tasks.finish_task(task)

    def yield_queue(self, release: Callable[[], object] = lambda: None) -> None:
        queue = call_queue.queue_lock
        if not queue._pending_threads:
            return
        release()
        with self._model_given_back(), self._queue_released():
            queue.release()
            deadline = time.monotonic() + _WAKING_SECONDS
            while not queue._lock.locked() and time.monotonic() < deadline:  # until the next job has acquired it
                time.sleep(0.001)
            queue.acquire()

    @contextmanager
    def _queue_released(self) -> Iterator[None]:
        """Release the WebUI's progress bar to other jobs until exit; the run is listed as waiting."""
        job, worker = self._job, self._worker
        progress = {name: getattr(shared.state, name) for name in PROGRESS}
        assert self._task is not None
        shared.state.end()
        tasks.finish_task(self._task)
        task = tasks.create_task_id("train-embedding")
        tasks.add_task_to_queue(task)
        self._job = self._worker = None
        try:
            yield
        finally:
            self._job, self._worker, self._task = job, worker, task
            shared.state.begin(job=job)
            tasks.start_task(task)
            for name, value in progress.items():
                setattr(shared.state, name, value)

    def report(self, progress: Progress) -> None:
        """Write every field of the progress each time, since other handlers of the WebUI clear them."""
        state = shared.state
        if self._job is not None:
            state.job = self._job
        state.job_count, state.job_no = progress.steps, progress.step
        state.sampling_steps = state.sampling_step = 0
        state.textinfo = html.escape(progress.text)

    def interrupted(self) -> bool:
        """Return whether Interrupt was pressed. The button sets `stopping_generation` if it expects several images, as here."""
        state = shared.state
        self._interrupted = self._interrupted or state.interrupted or state.stopping_generation
        return self._interrupted

    def interrogators(self) -> tuple[Interrogator, ...]:
        from train_embedding.hosts.webui import interrogators

        return interrogators.interrogators()

    def interrogate(self, name: str) -> AbstractContextManager[Callable[[Image.Image], str]]:
        from train_embedding.hosts.webui import interrogators

        return interrogators.interrogate(name)

    def _working(self) -> bool:
        """Return whether the calling thread holds the queue."""
        return self._worker == threading.get_ident()


def clear_conditioning_cache() -> None:
    """Clear the WebUI's cache of encoded prompts, which does not detect changed embeddings."""
    job, txt2img = processing.StableDiffusionProcessing, processing.StableDiffusionProcessingTxt2Img
    empty = [None] * len(job.cached_c)  # three in Forge and reForge, two in the WebUI
    job.cached_c, job.cached_uc = list(empty), list(empty)
    txt2img.cached_hr_c, txt2img.cached_hr_uc = list(empty), list(empty)


def width_mismatch(embedding: Any, widths: dict[str, int]) -> Message:
    """Say why the WebUI skips an embedding of its database."""
    return msg(
        "Its vectors have width {width}; the loaded checkpoint needs {needed}.",
        width=embedding.shape,
        needed=sum(widths.values()),
    )


def another_checkpoint(program: str, checkpoint: str) -> HostFailed:
    """Return the error for another checkpoint that was loaded during a run.

    Args:
        program: Name of the program.
        checkpoint: Title of the run's checkpoint.
    """
    return HostFailed(
        msg("{program} loaded another checkpoint during the run.", program=program),
        msg('Load "{checkpoint}" again and resume the run.', checkpoint=checkpoint),
    )


def _runs_folder() -> Path:
    return Path(paths_internal.data_path).absolute() / OWN_FOLDER / "runs"


def _templates_folder() -> Path | None:
    """Return the folder of caption templates; None in Forge Classic and Forge Neo, which have no such option."""
    folder = getattr(shared.cmd_opts, "textual_inversion_templates_dir", None)
    return None if folder is None else Path(folder)


def _allowed_folders() -> tuple[Path, ...] | None:
    options = shared.cmd_opts
    if not (options.webui_is_non_local or options.hide_ui_dir_config):
        return None
    named = getattr(options, "train_embedding_allow", None) or []
    return tuple(Path(folder).absolute() for folder in [paths_internal.data_path, *named])


def _language() -> str:
    """Return the selected localization, or the file that the extension sd-webui-bilingual-localization shows instead."""
    options: Any = shared.opts
    chosen = getattr(options, "localization", "None")
    if chosen in ("", "None", None) and getattr(options, "bilingual_localization_enabled", True):
        chosen = getattr(options, "bilingual_localization_file", "None")
    return "" if chosen in ("", "None", None) else str(chosen)


def _allowed_origins() -> tuple[str, ...]:
    """Return the origins of `--cors-allow-origins`, which are separated by commas."""
    return tuple((getattr(shared.cmd_opts, "cors_allow_origins", None) or "").split(","))


@functools.cache
def _git_tag() -> str:
    return launch_utils.git_tag()
