"""SD.Next as a host. This module can be imported only in SD.Next's process.

It uses these names of SD.Next 058a7f0c, and those listed in sdnext/model.py and sdnext/txt2img.py:

    shared          sd_model (loads one), opts, cmd_opts, extra_networks, state (see `report` and sdnext/txt2img.py)
    modeldata       model_data.sd_model (without loading one); embedding_db of the pipeline: word_embeddings,
                    skipped_embeddings (name, vector_sizes, filename, tokens), load_textual_inversion_embeddings
    call_queue      queue_lock, a plain lock
    progress        add_task_to_queue, start_task, finish_task, pending_tasks
    installer       version
    paths           data_path
    ui_extra_networks   get_pages: page_time, refresh_time, create_page
    prompt_parser_diffusers     cache
"""

from __future__ import annotations

import html
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import installer
import torch
from modules import call_queue, devices, modeldata, paths, prompt_parser_diffusers, shared
from modules import progress as tasks

from train_embedding.embeddings.create import takes_whole_text
from train_embedding.errors import HostFailed
from train_embedding.hosts.base import HostInfo, Interrogator, LoadedEmbeddings, Progress, Txt2ImgRequest
from train_embedding.hosts.recognition import OWN_FOLDER
from train_embedding.hosts.sdnext import model as sdnext_model
from train_embedding.hosts.sdnext.tokens import remove_tokens
from train_embedding.hosts.sdnext.txt2img import generate, kept_state
from train_embedding.messages import Message, msg

if TYPE_CHECKING:
    from PIL import Image

    from train_embedding.engine.model.diffusion_model import DiffusionModel

_CARDS = "Embedding"
_WAKING_SECONDS = 0.5
"Seconds after which the next job in the queue has certainly started."
_LOCKS = {"queue_lock", "get_lock"}
"Names by which SD.Next's functions hold its queue."


class SDNextHost:
    """A `hosts.base.Host` that uses SD.Next's modules."""

    title = "SD.Next"

    def __init__(self) -> None:
        self._job: str | None = None
        self._task = ""  # its id in SD.Next's queue
        self._worker: int | None = None  # the thread inside `exclusive`
        self._interrupted = False
        self._changing = threading.Lock()  # held while tokens or embeddings change
        self._tokens: set[str] = set()  # those of embedding files that SD.Next had loaded
        self._lent: tuple[Any, DiffusionModel, bool] | None = (
            None  # SD.Next's UNet, the lent model, and if it was read from a file
        )

    def info(self) -> HostInfo:
        sd_model = modeldata.model_data.sd_model
        facts: dict[str, Any] = {"dtype": str(devices.dtype).removeprefix("torch.")}
        facts |= {} if sd_model is None else sdnext_model.checkpoint_facts(sd_model)
        return HostInfo(
            name=f"{self.title} {installer.version.get('updated') or ''}".strip(),
            embeddings_folder=Path(shared.opts.embeddings_dir).absolute(),
            runs_folder=_data_folder() / OWN_FOLDER / "runs",
            device=str(devices.device),
            allowed_folders=_allowed_folders(),
            allowed_origins=tuple((getattr(shared.cmd_opts, "cors_origins", None) or "").split(",")),
            allowed_origins_pattern=getattr(shared.cmd_opts, "cors_regex", None) or "",
            language=_language(),
            runs_pickles=tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6),
            file_suffixes=(".safetensors",),
            **facts,
        )

    # ---- the model -----------------------------------------------------------------------------------------------------------

    @contextmanager
    def model(self) -> Iterator[DiffusionModel]:
        """Share SD.Next's own weights, or read the checkpoint's file if they are quantised.

        Inside `exclusive`, hooks of offload modes and Loras are removed, and the weights are moved to the device. Outside, the
        weights are used in their current state.
        """
        sd_model = self._require_model()
        if reason := sdnext_model.why_no_training(sd_model):
            raise HostFailed(reason)
        from_file = sdnext_model.is_quantised(sd_model)
        build = sdnext_model.model_from_file if from_file else sdnext_model.shared_model
        if not self._working():
            yield build(sd_model)
            return
        lending = sdnext_model.moved_to_cpu if from_file else sdnext_model.without_offload
        with lending(sd_model):
            self._lent = (sdnext_model.unet_of(sd_model), build(sd_model), from_file)
            try:
                yield self._lent[1]
            finally:
                self._lent = None

    def _require_model(self) -> Any:
        """Return SD.Next's model, which SD.Next loads if necessary, after waiting for the queue."""
        if modeldata.model_data.sd_model is None:
            if self._working():
                _load()
            else:
                with call_queue.queue_lock:
                    _load()
        if modeldata.model_data.sd_model is None:
            raise HostFailed(
                msg("{program} has no checkpoint loaded.", program=self.title), msg("Choose a checkpoint at the top of the page.")
            )
        return modeldata.model_data.sd_model

    def vocabulary(self) -> dict[str, torch.Tensor]:
        """Return the token embedding tables of CLIP's vocabulary, without the vectors of loaded embeddings."""
        from train_embedding.engine.loading.shared_modules import vocabulary_of

        sd_model = modeldata.model_data.sd_model
        if sd_model is None:
            raise HostFailed(
                msg("{program} has no checkpoint loaded.", program=self.title), msg("Choose a checkpoint at the top of the page.")
            )
        tables = {encoder.key: vocabulary_of(encoder.module) for encoder in sdnext_model.encoders_of(sd_model)}
        if not tables:
            raise HostFailed(msg("The text encoder of the loaded checkpoint does not support embeddings."))
        return tables

    def token_embeddings(self, text: str, count: int | None = None) -> dict[str, torch.Tensor]:
        """Look up the token embeddings of a text. SD.Next's tokenizers would find names of embeddings in it."""
        from train_embedding.engine.prompts.tokenizer import token_ids

        self._require_model()
        tables = self.vocabulary()
        cut = None if takes_whole_text({key: table.shape[1] for key, table in tables.items()}) else count
        ids = torch.tensor(token_ids(text)[:cut], dtype=torch.long)
        return {key: table[ids.to(table.device)].float().cpu() for key, table in tables.items()}

    # ---- the queue -----------------------------------------------------------------------------------------------------------

    @contextmanager
    def exclusive(self, job: str) -> Iterator[None]:
        task = _new_task()
        try:
            with call_queue.queue_lock:
                self._interrupted = False
                self._start(job, task)
                begun = shared.state.begin(job, task_id=task)
                try:
                    yield
                finally:
                    task = self._task  # `yield_queue` may have changed it
                    self._job = self._worker = None
                    shared.state.end(begun)
                    shared.state.interrupted = shared.state.skipped = False
        finally:
            tasks.pending_tasks.pop(task, None)
            tasks.finish_task(task)

    def yield_queue(self, release: Callable[[], object] = lambda: None) -> None:
        """As `Host.yield_queue`. Others may use the lent weights as they are, since their hooks only save memory."""
        queue = call_queue.queue_lock
        if not _others_wait():
            return
        release()
        job, task = self._job, _new_task()
        assert job is not None
        with kept_state():
            tasks.finish_task(self._task)
            self._job = self._worker = None
            queue.release()
            deadline = time.monotonic() + _WAKING_SECONDS
            while not queue.locked() and time.monotonic() < deadline:  # until the next job has acquired it
                time.sleep(0.001)
            queue.acquire()
            self._start(job, task)
        self._reclaim()

    def _start(self, job: str, task: str) -> None:
        self._job, self._task, self._worker = job, task, threading.get_ident()
        tasks.start_task(task)

    def _reclaim(self) -> None:
        """Restore the lent model after others or a preview used it.

        Raises:
            HostFailed: Another checkpoint was loaded.
        """
        if self._lent is None:
            return
        unet, model, from_file = self._lent
        sd_model = modeldata.model_data.sd_model
        if sd_model is None or sdnext_model.unet_of(sd_model) is not unet:
            raise HostFailed(
                msg("{program} loaded another checkpoint during the run.", program=self.title),
                msg("Load the checkpoint of the run again and resume the run."),
            )
        if from_file:
            sdnext_model.sd_models.move_model(sd_model, devices.cpu, force=True)
            return

        from train_embedding.engine.loading.shared_weights import rebind_storage, shares_storage

        sdnext_model.claim(sd_model)
        if not shares_storage(model, unet.state_dict()):
            rebind_storage(model, sdnext_model.shared_model(sd_model))

    def report(self, progress: Progress) -> None:
        """Write every field of the progress each time, since other handlers clear them."""
        state = shared.state
        if self._job is not None:
            state.job = self._job
        state.sampling_step, state.sampling_steps = progress.step, progress.steps
        state.job_no, state.job_count, state.batch_no, state.batch_count = 0, 1, 0, 0
        state.textinfo = html.escape(progress.text)

    def interrupted(self) -> bool:
        self._interrupted = self._interrupted or bool(shared.state.interrupted)
        return self._interrupted

    def _working(self) -> bool:
        """Return whether the calling thread holds the queue."""
        return self._worker == threading.get_ident()

    # ---- embeddings ----------------------------------------------------------------------------------------------------------

    def reload_embeddings(self) -> None:
        """Reload without waiting for the queue, like SD.Next's own Refresh, so that it works during a run.

        SD.Next never removes the tokens of files that were deleted, renamed or have fewer vectors now, so this does.
        """
        sd_model = modeldata.model_data.sd_model
        database = _database(sd_model)
        if database is None:
            return
        with self._changing:
            self._note_tokens(database)
            database.load_textual_inversion_embeddings(force_reload=True)
            stale = self._tokens - _tokens_in(database)
            for encoder in sdnext_model.encoders_of(sd_model):
                remove_tokens(encoder.tokenizer, stale)
            self._tokens = _tokens_in(database)
            prompt_parser_diffusers.cache.clear()
            for page in _pages_of_cards():
                page.page_time = page.refresh_time = 0  # so that the cards are listed again

    def loaded_embeddings(self) -> LoadedEmbeddings:
        sd_model = modeldata.model_data.sd_model
        database = _database(sd_model)
        if database is None:
            return LoadedEmbeddings(frozenset(), {})
        widths = {encoder.module.get_input_embeddings().weight.shape[1] for encoder in sdnext_model.encoders_of(sd_model)}
        skipped = {name: _why_skipped(entry, sum(widths)) for name, entry in list(database.skipped_embeddings.items())}
        return LoadedEmbeddings(frozenset(list(database.word_embeddings)), skipped)

    def _note_tokens(self, database: Any) -> None:
        self._tokens |= _tokens_in(database)

    def cards_html(self, tab: str) -> str:
        """Return the HTML of SD.Next's own embedding cards for a tab, such as "txt2img"."""
        with self._changing:  # otherwise the list may be empty for a moment
            pages = _pages_of_cards()
            if not pages:
                return ""
            pages[0].page_time = pages[0].refresh_time = 0
            return pages[0].create_page(tab)

    # ---- images --------------------------------------------------------------------------------------------------------------

    def txt2img(self, request: Txt2ImgRequest) -> Image.Image:
        """Generate an image like the Generate button, but without scripts of extensions; the image is not saved."""
        sd_model = self._require_model()
        if self.interrupted():
            raise HostFailed(msg("The WebUI returned no image."), msg("It was interrupted before the first step."))
        if request.embeddings:
            self.vocabulary()  # raises an error if SD.Next keeps the tables elsewhere
        from_file = self._lent is not None and self._lent[2]
        if from_file:
            sdnext_model.sd_models.move_model(sd_model, devices.device)
        with self._changing:
            image, interrupted = generate(request, sd_model)
        self._interrupted = self._interrupted or interrupted
        self._reclaim()
        return image

    def interrogators(self) -> tuple[Interrogator, ...]:
        """Return none: those of SD.Next download their models."""
        return ()

    def interrogate(self, name: str) -> AbstractContextManager[Callable[[Image.Image], str]]:
        raise HostFailed(msg('There is no interrogator "{name}".', name=name), msg("Give the folder of a caption model."))


def _load() -> None:
    """Make SD.Next load the selected checkpoint."""
    _ = shared.sd_model


def _database(sd_model: Any) -> Any:
    """Return the embedding database; None if no checkpoint is loaded, or if it uses no embeddings."""
    return None if sd_model is None else getattr(sd_model, "embedding_db", None)


def _tokens_in(database: Any) -> set[str]:
    """Return the tokens of embeddings that were loaded from files, and not from Loras."""
    entries = list(database.word_embeddings.values())
    return {token for entry in entries if getattr(entry, "filename", None) for token in entry.tokens or ()}


def _why_skipped(entry: Any, needed: int) -> Message:
    sizes = getattr(entry, "vector_sizes", None)
    if not sizes:
        return msg("SD.Next cannot read it.")
    return msg("Its vectors have width {width}; the loaded checkpoint needs {needed}.", width=sum(sizes), needed=needed)


def _pages_of_cards() -> list[Any]:
    """Return SD.Next's page of embedding cards; none if its setting turns embeddings off."""
    return [page for page in shared.extra_networks if page.title == _CARDS]


def _others_wait() -> bool:
    """Return whether jobs wait for the queue: those of the page are listed, those of the API block in a function of SD.Next."""
    if tasks.pending_tasks:
        return True
    return any(_LOCKS & {*frame.f_code.co_names} and _is_sdnexts(frame) for frame in sys._current_frames().values())


def _is_sdnexts(frame: Any) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith("modules.")


def _new_task() -> str:
    """Add a task to SD.Next's list of waiting tasks, and return its id."""
    task = f"task(train-embedding-{uuid.uuid4().hex[:12]})"
    tasks.add_task_to_queue(task)
    return task


def _data_folder() -> Path:
    return Path(paths.data_path or ".").absolute()


def _allowed_folders() -> tuple[Path, ...] | None:
    options = shared.cmd_opts
    public = any(getattr(options, name, None) for name in ("listen", "share", "server_name", "hide_ui_dir_config"))
    if not public:
        return None
    named = getattr(options, "train_embedding_allow", None) or []
    return tuple(Path(folder).absolute() for folder in [_data_folder(), *named])


def _language() -> str:
    """Return the language of the setting "UI locale", such as "zh: Chinese"; empty for that of the browser."""
    chosen = str(getattr(shared.opts, "ui_locale", "") or "")
    return "" if chosen.startswith(("Auto", "en")) else chosen
