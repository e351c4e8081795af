"""The AUTOMATIC1111 Stable Diffusion WebUI as a host. Only the WebUI's own process can import this.

It relies on these names of the WebUI, read in 1.10.1, and on those listed in webui/host.py:

    shared          sd_model, opts, cmd_opts.disable_safe_unpickle
    sd_models       model_data.sd_model (shared.sd_model without loading one), send_model_to_device, send_model_to_cpu
    sd_hijack       model_hijack.embedding_db: word_embeddings, skipped_embeddings, load_textual_inversion_embeddings
    devices         device

What it needs of the loaded checkpoint is listed in a1111/model.py, of image generation in webui/txt2img.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from modules import call_queue, devices, sd_hijack, sd_models, shared

from train_embedding.errors import HostFailed
from train_embedding.hosts.a1111.model import (
    checkpoint_facts,
    diffusion_model,
    key_of,
    loaded_model,
    moved_to_cpu,
    must_read_from_file,
    on_device,
    remove_networks,
    text_encoders,
    why_no_training,
    widths_of,
)
from train_embedding.hosts.base import LoadedEmbeddings, Txt2ImgRequest
from train_embedding.hosts.webui.host import WebUIHost, clear_conditioning_cache, width_mismatch
from train_embedding.hosts.webui.txt2img import EmbeddingDatabase, draw

if TYPE_CHECKING:
    from PIL import Image

    from train_embedding.engine.model.diffusion_model import DiffusionModel


class A1111Host(WebUIHost):
    """`hosts.base.Host` over the WebUI's modules."""

    title = "AUTOMATIC1111 WebUI"

    def __init__(self) -> None:
        super().__init__()
        self._borrowed: dict[str, Any] | None = None  # settings that must hold while the model is borrowed

    def _checkpoint_facts(self) -> dict[str, Any]:
        sd_model = self._available_model()
        return {} if sd_model is None else checkpoint_facts(sd_model)

    def _runs_pickles(self) -> bool:
        """The WebUI's own unpickler allows a fixed list of globals, unless `--disable-safe-unpickle` turns it off."""
        return bool(shared.cmd_opts.disable_safe_unpickle)

    @contextmanager
    def model(self) -> Iterator[DiffusionModel]:
        """Share the WebUI's own weights, or read the checkpoint's file where they are quantised or offloaded.

        Inside `exclusive`, the weights are on the WebUI's device and those of the checkpoint alone: a Lora of the last image is
        removed, as the WebUI does before its next image. Outside, they are as they are at the moment. While a model read from
        the file is on the device, the WebUI's own is in main memory.
        """
        sd_model = self._require_model()
        if reason := why_no_training(sd_model):
            raise HostFailed(reason)
        with ExitStack() as stack:
            if self._working():
                stack.enter_context((moved_to_cpu if must_read_from_file(sd_model) else on_device)(sd_model))
                stack.enter_context(self._borrow(sd_model))
                remove_networks(sd_model)
            yield diffusion_model(sd_model)

    def _available_model(self) -> Any:
        return sd_models.model_data.sd_model

    def _require_model(self) -> Any:
        """Return the model. The WebUI switches checkpoints inside its queue; meanwhile there is none that takes embeddings."""
        sd_model = sd_models.model_data.sd_model
        if not self._working() and (sd_model is None or not widths_of(sd_model)):
            with call_queue.queue_lock:
                pass
        return loaded_model()

    def _token_tables(self, sd_model: Any) -> list[tuple[str, torch.Tensor, Any]]:
        return [
            (key_of(weight), weight.detach(), lambda text, encoder=encoder: encoder.tokenize([text])[0])
            for encoder, weight in text_encoders(sd_model)
        ]

    @contextmanager
    def _model_given_back(self) -> Iterator[None]:
        lent, borrowed = loaded_model(), self._borrowed
        title, from_file = lent.sd_checkpoint_info.title, must_read_from_file(lent)
        if from_file:
            sd_models.send_model_to_device(lent)
        self._borrowed = None
        try:
            yield
        finally:
            self._borrowed = borrowed
        sd_model = sd_models.model_data.sd_model
        if sd_model is not lent or sd_model.sd_checkpoint_info.title != title or must_read_from_file(sd_model) != from_file:
            raise HostFailed(
                "The WebUI loaded another checkpoint meanwhile, or the same in another way.",
                f'Load "{title}" again, and resume the run.',
            )
        if from_file:
            sd_models.send_model_to_cpu(sd_model)
        elif next(sd_model.parameters()).device.type != torch.device(devices.device).type:
            sd_models.send_model_to_device(sd_model)
        remove_networks(sd_model)

    def reload_embeddings(self) -> None:
        """Reload outside the queue, as the refresh button of the WebUI's cards does: it must work during a training run.

        Without a loaded checkpoint there is nothing to do: the WebUI reads the folder when it loads one.
        """
        if sd_models.model_data.sd_model is None:
            return
        with self._reloading:
            sd_hijack.model_hijack.embedding_db.load_textual_inversion_embeddings(force_reload=True)
        clear_conditioning_cache()

    def loaded_embeddings(self) -> LoadedEmbeddings:
        database = sd_hijack.model_hijack.embedding_db
        sd_model = sd_models.model_data.sd_model
        widths = {} if sd_model is None else widths_of(sd_model)
        skipped = list(database.skipped_embeddings.items())
        left_out = {name: width_mismatch(embedding, widths) for name, embedding in skipped}
        return LoadedEmbeddings(frozenset(list(database.word_embeddings)), left_out)

    def txt2img(self, request: Txt2ImgRequest) -> Image.Image:
        """Generate an image as the Generate button does, but without always-on scripts of other extensions; nothing is saved."""
        sd_model = shared.sd_model
        database = EmbeddingDatabase(
            sd_hijack.model_hijack.embedding_db, lambda text: sd_model.cond_stage_model.tokenize([text])[0]
        )
        if self._borrowed is None:
            return draw(request, [database], {})
        with on_device(sd_model):
            picture = draw(request, [database], self._borrowed)
        remove_networks(shared.sd_model)
        return picture

    @contextmanager
    def _borrow(self, sd_model: Any) -> Iterator[None]:
        """Keep the settings that previews are generated with: once somebody changes them, the WebUI would load another
        checkpoint, or the same in fp8, into the weights being trained on."""
        self._borrowed = {"fp8_storage": shared.opts.fp8_storage, "sd_model_checkpoint": sd_model.sd_checkpoint_info.title}
        try:
            yield
        finally:
            self._borrowed = None
