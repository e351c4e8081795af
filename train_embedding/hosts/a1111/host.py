"""The AUTOMATIC1111 WebUI as a host. This module can be imported only in the WebUI's process.

It uses these names of the WebUI 1.10.1, and those listed in webui/host.py:

    shared          sd_model, opts, cmd_opts.disable_safe_unpickle
    sd_models       model_data.sd_model (shared.sd_model without loading one), send_model_to_device, send_model_to_cpu
    sd_hijack       model_hijack.embedding_db: word_embeddings, skipped_embeddings, load_textual_inversion_embeddings
    devices         device

The names for the loaded checkpoint are listed in a1111/model.py, those for image generation in webui/txt2img.py.
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
from train_embedding.hosts.webui.txt2img import EmbeddingDatabase, generate
from train_embedding.messages import msg

if TYPE_CHECKING:
    from PIL import Image

    from train_embedding.engine.model.diffusion_model import DiffusionModel


class A1111Host(WebUIHost):
    """A `hosts.base.Host` that uses the WebUI's modules."""

    title = "AUTOMATIC1111 WebUI"

    def __init__(self) -> None:
        super().__init__()
        self._kept_settings: dict[str, Any] | None = None  # settings to keep while the model is lent

    def _checkpoint_facts(self) -> dict[str, Any]:
        sd_model = self._available_model()
        return {} if sd_model is None else checkpoint_facts(sd_model)

    def _runs_pickles(self) -> bool:
        """Return whether `--disable-safe-unpickle` turns off the WebUI's unpickler, which allows only a fixed list of globals."""
        return bool(shared.cmd_opts.disable_safe_unpickle)

    @contextmanager
    def model(self) -> Iterator[DiffusionModel]:
        """Share the WebUI's own weights, or read the checkpoint's file if they are quantised or offloaded.

        Inside `exclusive`, the weights are moved to the WebUI's device, and a Lora of the last image is removed from them, as the
        WebUI does before its next image. Outside, they are used in their current state. While a model read from the file is on
        the device, the WebUI's own is in main memory.
        """
        sd_model = self._require_model()
        if reason := why_no_training(sd_model):
            raise HostFailed(reason)
        with ExitStack() as stack:
            if self._working():
                stack.enter_context((moved_to_cpu if must_read_from_file(sd_model) else on_device)(sd_model))
                stack.enter_context(self._settings_kept(sd_model))
                remove_networks(sd_model)
            yield diffusion_model(sd_model)

    def _available_model(self) -> Any:
        return sd_models.model_data.sd_model

    def _require_model(self) -> Any:
        """Return the model; waits for the queue if there is none, since the WebUI may be switching checkpoints."""
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
        lent, kept = loaded_model(), self._kept_settings
        title, from_file = lent.sd_checkpoint_info.title, must_read_from_file(lent)
        if from_file:
            sd_models.send_model_to_device(lent)
        self._kept_settings = None
        try:
            yield
        finally:
            self._kept_settings = kept
        sd_model = sd_models.model_data.sd_model
        if sd_model is not lent or sd_model.sd_checkpoint_info.title != title or must_read_from_file(sd_model) != from_file:
            raise HostFailed(
                msg("The WebUI loaded another checkpoint during the run, or reloaded this one with other settings."),
                msg('Load "{checkpoint}" again and resume the run.', checkpoint=title),
            )
        if from_file:
            sd_models.send_model_to_cpu(sd_model)
        elif next(sd_model.parameters()).device.type != torch.device(devices.device).type:
            sd_models.send_model_to_device(sd_model)
        remove_networks(sd_model)

    def reload_embeddings(self) -> None:
        """Reload without waiting for the queue, like the refresh button of the WebUI's cards, so that it works during a run.

        Without a loaded checkpoint it does nothing, since the WebUI reads the folder when it loads one.
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
        """Generate an image like the Generate button, but without scripts of other extensions; the image is not saved."""
        sd_model = shared.sd_model
        database = EmbeddingDatabase(
            sd_hijack.model_hijack.embedding_db, lambda text: sd_model.cond_stage_model.tokenize([text])[0]
        )
        if self._kept_settings is None:
            return generate(request, [database], {})
        with on_device(sd_model):
            image = generate(request, [database], self._kept_settings)
        remove_networks(shared.sd_model)
        return image

    @contextmanager
    def _settings_kept(self, sd_model: Any) -> Iterator[None]:
        """Keep the settings that previews use until exit.

        If you changed them during a run, the WebUI would load another checkpoint, or the same one in fp8, into the weights that
        the run uses.
        """
        self._kept_settings = {"fp8_storage": shared.opts.fp8_storage, "sd_model_checkpoint": sd_model.sd_checkpoint_info.title}
        try:
            yield
        finally:
            self._kept_settings = None
