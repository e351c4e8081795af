"""Generate images with SD.Next's own generator, and with embeddings that need not be files.

It uses these names of SD.Next 058a7f0c:

    processing      StableDiffusionProcessingTxt2Img, process_images, processed (the last result)
    processing_diffusers    last_p
    processing_info args, infotext (of the last image, for a button that restores them)
    sd_samplers     all_samplers_map: constructor (None for headings)
    shared          history.latents, state (its attributes are saved and restored)
    prompt_parser_diffusers     cache
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from modules import (
    devices,
    processing,
    processing_diffusers,
    processing_info,
    prompt_parser_diffusers,
    sd_samplers,
    shared,
)

from train_embedding.errors import HostFailed
from train_embedding.hosts.base import Txt2ImgRequest
from train_embedding.hosts.sdnext.model import encoders_of, pipeline_of
from train_embedding.hosts.sdnext.tokens import added_embeddings
from train_embedding.messages import msg

if TYPE_CHECKING:
    from PIL import Image

_TRACES = ((processing, "processed"), (processing_diffusers, "last_p"), (processing_info, "args"), (processing_info, "infotext"))
"What an image leaves behind for later ones."


def generate(request: Txt2ImgRequest, sd_model: Any) -> tuple[Image.Image, bool]:
    """Generate an image.

    Args:
        request: What to generate.
        sd_model: SD.Next's model.

    Returns:
        The image, and whether Interrupt was pressed meanwhile.

    Raises:
        HostFailed: The sampler does not exist, or SD.Next returned no image.
    """
    sampler = sd_samplers.all_samplers_map.get(request.sampler)
    if sampler is None or sampler.constructor is None:
        raise HostFailed(msg('Unknown sampler "{name}".', name=request.sampler))
    with ExitStack() as stack:
        stack.enter_context(kept_state())
        stack.enter_context(_without_traces(sd_model))
        stack.enter_context(_kept_random_state())
        stack.enter_context(added_embeddings(encoders_of(sd_model), pipeline_of(sd_model), request.embeddings))
        results = processing.process_images(_job_for(request))
        interrupted = bool(shared.state.interrupted)
    images = getattr(results, "images", None)
    if not images:
        raise HostFailed(msg("The WebUI returned no image."), msg("It was interrupted before the first step."))
    shared.state.assign_current_image(images[0])
    return images[0], interrupted


@contextmanager
def kept_state() -> Iterator[None]:
    """Restore SD.Next's progress on exit."""
    state = shared.state
    kept = dict(vars(state))
    try:
        yield
    finally:
        for name in vars(state).keys() - kept.keys():
            delattr(state, name)  # the class has its first value
        vars(state).update(kept)


def _job_for(request: Txt2ImgRequest) -> Any:
    return processing.StableDiffusionProcessingTxt2Img(
        sd_model=None,
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
    )


@contextmanager
def _without_traces(sd_model: Any) -> Iterator[None]:
    """Restore on exit what later images would use of this one: encoded prompts, the sampler, and lists of the last images."""
    kept = [(module, name, getattr(module, name)) for module, name in _TRACES]
    cache, latents, scheduler = prompt_parser_diffusers.cache, shared.history.latents, pipeline_of(sd_model).scheduler
    prompt_parser_diffusers.cache = OrderedDict()
    shared.history.latents = latents.copy()
    try:
        yield
    finally:
        for module, name, value in kept:
            setattr(module, name, value)
        prompt_parser_diffusers.cache, shared.history.latents = cache, latents
        pipeline_of(sd_model).scheduler = scheduler


@contextmanager
def _kept_random_state() -> Iterator[None]:
    with torch.random.fork_rng(devices=[devices.device] if devices.device.type == "cuda" else []):
        yield
