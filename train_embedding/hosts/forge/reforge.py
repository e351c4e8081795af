"""reForge and Forge Classic as hosts, with the models of Forge, and the embeddings and settings of the WebUI.

This module can be imported only in their processes.

It uses these names of reForge 3b56b268 and Forge Classic 1f95d717, and those listed in a1111/host.py and forge/host.py:

    ldm_patched.modules     model_management: load_models_gpu, unload_all_models
    sd model                forge_objects_original.unet.model: model_type (ModelType.EPS, V_PREDICTION), model_sampling.sigmas,
                            manual_cast_dtype, get_dtype; text encoders: id_pad and, only in reForge, minimal_clip_skip
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from ldm_patched.modules import model_management
from modules import shared

from train_embedding.hosts.a1111.host import A1111Host
from train_embedding.hosts.a1111.model import key_of, text_encoders
from train_embedding.hosts.base import Txt2ImgRequest
from train_embedding.hosts.forge.base_host import ForgeBaseHost
from train_embedding.hosts.forge.model import EncoderSettings, NoiseSchedule, forge_objects

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from PIL import Image

_PREDICTIONS = {"EPS": "epsilon", "V_PREDICTION": "v_prediction"}


class ReForgeHost(ForgeBaseHost, A1111Host):
    """A `hosts.base.Host` that uses reForge's modules."""

    title = "Stable Diffusion WebUI reForge"
    memory = model_management
    load_options: dict[str, Any] = {"minimum_memory_required": 0}  # noqa: RUF012
    "The manager frees memory for training if possible, but loads the model completely in any case."

    def _checkpoint_facts(self) -> dict[str, Any]:
        sd_model = self._available_model()
        return {} if sd_model is None else self._facts_of(sd_model)

    def _encoder_settings(self, sd_model: Any) -> dict[str, EncoderSettings]:
        skip = int(shared.opts.CLIP_stop_at_last_layers)
        return {
            key_of(weight): EncoderSettings(max(skip, encoder.minimal_clip_skip), not sd_model.is_sdxl, encoder.id_pad)
            for encoder, weight in text_encoders(sd_model)
        }

    def _schedule(self, sd_model: Any) -> NoiseSchedule:
        from train_embedding.engine.devices import as_float64

        inner = forge_objects(sd_model).unet.model
        sigmas = getattr(inner.model_sampling, "sigmas", torch.empty(0))
        kind = str(inner.model_type.name)
        return NoiseSchedule(1 / (as_float64(sigmas) ** 2 + 1), _PREDICTIONS.get(kind, kind))

    def _compute_dtype(self, sd_model: Any) -> torch.dtype:
        inner = forge_objects(sd_model).unet.model
        return inner.manual_cast_dtype or inner.get_dtype()

    def _program_settings_kept(self, sd_model: Any) -> AbstractContextManager[None]:
        return self._settings_kept(sd_model)

    @contextmanager
    def _model_given_back(self) -> Iterator[None]:
        kept, self._kept_settings = self._kept_settings, None
        try:
            with super()._model_given_back():
                yield
        finally:
            self._kept_settings = kept

    def txt2img(self, request: Txt2ImgRequest) -> Image.Image:
        image = super().txt2img(request)
        self._reclaim()
        return image


class ForgeClassicHost(ReForgeHost):
    """Forge Classic, an earlier Forge. It loads no embeddings from images."""

    title = "Forge Classic"
    file_suffixes = (".pt", ".safetensors", ".bin")
    load_options: dict[str, Any] = {}  # noqa: RUF012

    def _version(self) -> str:
        """Return its version; at first it had none but the name of its branch."""
        version = super()._version()
        return "" if version == "classic" else version

    def _encoder_settings(self, sd_model: Any) -> dict[str, EncoderSettings]:
        """Return the settings; "Clip skip" applies to SD1 only."""
        layer = int(shared.opts.CLIP_stop_at_last_layers) if sd_model.is_sd1 else 2
        return {
            key_of(weight): EncoderSettings(layer, not sd_model.is_sdxl, encoder.id_pad)
            for encoder, weight in text_encoders(sd_model)
        }
