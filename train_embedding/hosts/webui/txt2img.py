"""Generate images with the WebUI's own generator, and with embeddings that need not be files.

It uses these names of WebUI 1.10.1, Forge dfdcbab6 and reForge 3b56b268:

    shared          state (assign_current_image and the fields in PROGRESS), opts, cmd_opts, total_tqdm, sd_model
    embedding database  find_embedding_at_position (the only method that the text encoders call)
    processing      StableDiffusionProcessingTxt2Img, process_images
    scripts         ScriptRunner
    sd_samplers     all_samplers_map
    textual_inversion.textual_inversion     Embedding
    devices         device
    paths_internal  data_path
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from modules import devices, paths_internal, processing, scripts, sd_samplers, shared
from modules.textual_inversion import textual_inversion

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.storage import remove_file, write_atomically
from train_embedding.errors import HostFailed
from train_embedding.hosts.base import Txt2ImgRequest
from train_embedding.messages import msg

if TYPE_CHECKING:
    from PIL import Image

PROGRESS = (
    "job", "job_no", "job_count", "job_timestamp", "processing_has_refined_job_count", "sampling_step", "sampling_steps",
    "current_latent", "current_image", "current_image_sampling_step", "textinfo", "time_start",
)  # fmt: skip
"Fields of the WebUI's progress state that generating an image overwrites."


@dataclass(frozen=True)
class EmbeddingDatabase:
    """An embedding database of a text encoder."""

    lookup: Any
    "The WebUI's own object."
    tokenize: Callable[[str], list[int]]
    "Returns the token ids of a text."


def generate(request: Txt2ImgRequest, databases: Sequence[EmbeddingDatabase], settings: dict[str, Any]) -> Image.Image:
    """Generate an image.

    Args:
        request: What to generate; its embeddings take precedence over those in the databases.
        databases: Every embedding database that the loaded checkpoint uses.
        settings: Values that settings of the WebUI must have.

    Raises:
        HostFailed: The sampler does not exist, or the WebUI returned no image.
    """
    if request.sampler not in sd_samplers.all_samplers_map:
        raise HostFailed(msg('Unknown sampler "{name}".', name=request.sampler))
    job = _job_for(request, settings)
    with ExitStack() as stack:
        stack.enter_context(closing(job))
        stack.enter_context(_kept_progress())
        stack.enter_context(_kept_random_state())
        stack.enter_context(_no_prompt_history())
        for database in databases:
            stack.enter_context(_overridden(database, request.embeddings))
        images = processing.process_images(job).images
    if not images:
        raise HostFailed(msg("The WebUI returned no image."), msg("It was interrupted before the first step."))
    shared.state.assign_current_image(images[0])
    return images[0]


def _job_for(request: Txt2ImgRequest, settings: dict[str, Any]) -> Any:
    """Make a job of the WebUI. If a setting differs, all are overridden, in order: fp8 must be set before the checkpoint."""
    changed = any(getattr(shared.opts, key) != value for key, value in settings.items())
    job = processing.StableDiffusionProcessingTxt2Img(
        sd_model=shared.sd_model,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        seed=request.seed,
        subseed=request.seed,
        sampler_name=request.sampler,
        steps=request.steps,
        cfg_scale=request.guidance,
        width=request.width,
        height=request.height,
        do_not_save_samples=True,
        do_not_save_grid=True,
        do_not_reload_embeddings=True,
        override_settings=dict(settings) if changed else {},
    )
    job.scheduler = "Automatic"  # not an argument: jobs of Forge Classic have no scheduler
    job.scripts = scripts.ScriptRunner()  # without scripts; reForge does not support None here
    job.cached_c, job.cached_uc = [None] * len(job.cached_c), [None] * len(job.cached_uc)
    return job


@contextmanager
def _overridden(database: EmbeddingDatabase, embeddings: tuple[Embedding, ...]) -> Iterator[None]:
    """Make a database find these embeddings first. Its own entries are not changed, since it may be reloaded meanwhile."""
    find = database.lookup.find_embedding_at_position
    entries = [(database.tokenize(embedding.name), _for_webui(embedding)) for embedding in embeddings]
    entries.sort(key=lambda entry: len(entry[0]), reverse=True)

    def find_these_first(tokens: list[int], offset: int) -> tuple[Any, int | None]:
        found, length = find(tokens, offset)
        for ids, embedding in entries:
            if len(ids) >= (length or 1) and tokens[offset : offset + len(ids)] == ids:
                return embedding, len(ids)
        return found, length

    replaced = vars(database.lookup).get("find_embedding_at_position")  # set by an extension
    database.lookup.find_embedding_at_position = find_these_first
    try:
        yield
    finally:
        if replaced is None:
            del database.lookup.find_embedding_at_position
        else:
            database.lookup.find_embedding_at_position = replaced


def _for_webui(embedding: Embedding) -> Any:
    vectors = {key: value.to(devices.device, torch.float32) for key, value in embedding.vectors.items()}
    one_encoder = len(vectors) == 1
    entry = textual_inversion.Embedding(next(iter(vectors.values())) if one_encoder else vectors, embedding.name, embedding.step)
    entry.vectors, entry.shape = embedding.count, sum(embedding.widths.values())
    return entry


@contextmanager
def _kept_progress() -> Iterator[None]:
    """Restore the progress on exit, but keep a press of Interrupt, which is meant for the run."""
    state = shared.state
    kept = {name: getattr(state, name) for name in PROGRESS}
    try:
        yield
    finally:
        shared.total_tqdm.clear()
        for name, value in kept.items():
            setattr(state, name, value)
        state.skipped = False


@contextmanager
def _kept_random_state() -> Iterator[None]:
    with torch.random.fork_rng(devices=[devices.device] if devices.device.type == "cuda" else []):
        yield


@contextmanager
def _no_prompt_history() -> Iterator[None]:
    """Keep the WebUI from saving the prompt in `params.txt`, from which a button restores your last prompt.

    Forge Classic saves it in any case, so there the file's content is restored.
    """
    options = shared.cmd_opts
    if not hasattr(options, "no_prompt_history"):
        with _kept_file(Path(paths_internal.data_path) / "params.txt"):
            yield
        return
    kept = options.no_prompt_history
    options.no_prompt_history = True
    try:
        yield
    finally:
        options.no_prompt_history = kept


@contextmanager
def _kept_file(file: Path) -> Iterator[None]:
    """Restore the content of a small file on exit."""
    kept = file.read_bytes() if file.is_file() else None
    try:
        yield
    finally:
        if kept is None:
            remove_file(file, missing_ok=True)
        elif file.read_bytes() != kept:
            write_atomically(file, kept)
