"""Stable Diffusion WebUI Forge as a host. Only Forge's own process can import this.

It relies on these names of Forge, read in dfdcbab6, and on those listed in webui/host.py and forge/model.py:

    sd_models       model_data: sd_model, forge_loading_parameters (of the chosen checkpoint), forge_hash (of the loaded one);
                    forge_model_reload (loads the chosen one, where it is not the loaded one)
    sd model        text_processing_engine or its _l and _g: embeddings, tokenize, embedding_key, minimal_clip_skip,
                    final_layer_norm, id_pad; forge_objects_original.unet.model: predictor, computation_dtype; model_config
    embeddings      ui_extra_networks_textual_inversion.embedding_db (its cards), that of the API, and one per engine: ids_lookup,
                    word_embeddings, skipped_embeddings, load_textual_inversion_embeddings
    backend         memory_management: load_models_gpu, unload_all_models
    shared          opts, demo
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from backend import memory_management
from modules import call_queue, sd_models, shared, ui_extra_networks_textual_inversion

from train_embedding.errors import HostFailed
from train_embedding.hosts.base import LoadedEmbeddings, Txt2ImgRequest
from train_embedding.hosts.forge import model as forge_model
from train_embedding.hosts.forge.base_host import ForgeBaseHost
from train_embedding.hosts.forge.checkpoint_file import facts_of_file
from train_embedding.hosts.forge.model import EncoderSettings, NoiseSchedule
from train_embedding.hosts.webui.host import clear_conditioning_cache, width_mismatch
from train_embedding.hosts.webui.txt2img import EmbeddingDatabase, draw

if TYPE_CHECKING:
    from PIL import Image

_LISTS = ("ids_lookup", "word_embeddings", "skipped_embeddings")
"What an embedding database keeps of its folder."


class ForgeHost(ForgeBaseHost):
    """`hosts.base.Host` over Forge's modules."""

    title = "Stable Diffusion WebUI Forge"
    how_to_load = "Generate an image first: Forge loads the chosen checkpoint then."
    memory = memory_management
    load_options: dict[str, Any] = {}  # noqa: RUF012

    def _checkpoint_facts(self) -> dict[str, Any]:
        """Facts of the lent model, else of what the next image is made with: the chosen checkpoint, loaded or not."""
        sd_model = self._available_model()
        if sd_model is not None:
            return self._facts_of(sd_model)
        chosen = sd_models.model_data.forge_loading_parameters.get("checkpoint_info")
        return {} if chosen is None else facts_of_file(chosen)

    def _encoder_settings(self, sd_model: Any) -> dict[str, EncoderSettings]:
        skip = int(shared.opts.CLIP_stop_at_last_layers)
        return {
            engine.embedding_key: EncoderSettings(max(skip, engine.minimal_clip_skip), engine.final_layer_norm, engine.id_pad)
            for engine in _engines(sd_model)
        }

    def _schedule(self, sd_model: Any) -> NoiseSchedule:
        predictor = _inner(sd_model).predictor
        alphas = getattr(predictor, "alphas_cumprod", torch.empty(0))  # other families' have none
        return NoiseSchedule(alphas, predictor.prediction_type, getattr(sd_model.model_config, "ztsnr", False))

    def _compute_dtype(self, sd_model: Any) -> torch.dtype:
        return _inner(sd_model).computation_dtype

    def _available_model(self) -> Any:
        """The lent model, or the loaded one if it is the chosen one; else None."""
        lent, data = self._lent, sd_models.model_data
        if lent is not None:
            return lent.sd_model
        is_chosen = data.forge_hash == str(data.forge_loading_parameters)
        return data.sd_model if is_chosen and hasattr(data.sd_model, "forge_objects_original") else None

    def _require_model(self) -> Any:
        """The available model; loads the chosen checkpoint where there is none, which waits for the queue."""
        sd_model = self._available_model()
        if sd_model is not None:
            return sd_model
        with nullcontext() if self._working() else call_queue.queue_lock:
            return _loaded()

    def _token_tables(self, sd_model: Any) -> list[tuple[str, torch.Tensor, Any]]:
        engines = {engine.embedding_key: engine for engine in _engines(sd_model)}
        return [
            (key, forge_model.token_table(clip_model), lambda text, engine=engines[key]: engine.tokenize([text])[0])
            for key, clip_model in forge_model.clip_models(sd_model).items()
            if key in forge_model.widths_of(sd_model)
        ]

    def reload_embeddings(self) -> None:
        """Reload all of Forge's embedding databases, outside the queue: it must work during a training run.

        No database is ever seen half read.
        """
        with self._reloading:
            lists = _read_again(ui_extra_networks_textual_inversion.embedding_db, force_reload=True, sync_with_sd_model=False)
            for database in (ui_extra_networks_textual_inversion.embedding_db, *_databases_of_the_api()):
                for name, content in lists.items():
                    setattr(database, name, dict(content))
            for engine in _engines(sd_models.model_data.sd_model):
                for name, content in _read_again(engine.embeddings).items():
                    setattr(engine.embeddings, name, content)
        clear_conditioning_cache()

    def loaded_embeddings(self) -> LoadedEmbeddings:
        """Read what the text engines have; those of a checkpoint that is not loaded yet will load what the cards show."""
        sd_model = self._available_model()
        engines = _engines(sd_model)
        database = engines[0].embeddings if engines else ui_extra_networks_textual_inversion.embedding_db
        widths = self._checkpoint_facts().get("widths", {})
        found = {**database.skipped_embeddings, **database.word_embeddings}
        left_out = {
            name: width_mismatch(embedding, widths)
            for name, embedding in found.items()
            if embedding.shape != sum(widths.values())
        }
        return LoadedEmbeddings(frozenset(found) - frozenset(left_out), left_out)

    def txt2img(self, request: Txt2ImgRequest) -> Image.Image:
        """Generate an image as the Generate button does, but without always-on scripts of other extensions; nothing is saved."""
        with self._lent_checkpoint_chosen():
            databases = [
                EmbeddingDatabase(engine.embeddings, lambda text, engine=engine: engine.tokenize([text])[0])
                for engine in _engines(self._require_model())
            ]
            picture = draw(request, databases, {})
        self._reclaim()
        return picture

    @contextmanager
    def _lent_checkpoint_chosen(self) -> Iterator[None]:
        """While the model is lent, previews use it: Forge would load a checkpoint that was chosen meanwhile."""
        data = sd_models.model_data
        chosen, loaded = data.forge_loading_parameters, data.forge_hash
        if self._lent is None or loaded == str(chosen):
            yield
            return
        data.forge_hash = str(chosen)
        try:
            yield
        finally:
            data.forge_hash = loaded


def _loaded() -> Any:
    """The chosen checkpoint, loaded if needed; the caller holds the queue."""
    chosen = sd_models.model_data.forge_loading_parameters.get("checkpoint_info")
    if chosen is None:
        raise HostFailed("Forge has no checkpoint chosen.", "Choose one at the top of its page.")
    try:
        return sd_models.forge_model_reload()[0]
    except (
        ValueError,
        RuntimeError,
        OSError,
        AssertionError,
        KeyError,
    ) as error:  # what its loader raises for a file it cannot use
        raise HostFailed(f'Forge could not load "{chosen.name}": {error}') from error


def _inner(sd_model: Any) -> Any:
    return forge_model.forge_objects(sd_model).unet.model


def _engines(sd_model: Any) -> list[Any]:
    """The text engines, each with an embedding database of its own; none where no checkpoint is loaded."""
    names = ("text_processing_engine", "text_processing_engine_l", "text_processing_engine_g")
    engines = (getattr(sd_model, name, None) for name in names)
    return [engine for engine in engines if hasattr(engine, "embeddings")]


def _read_again(database: Any, **options: Any) -> dict[str, Any]:
    """What the embeddings folder holds now, as this database would load it."""
    fresh = copy.copy(database)
    for name in _LISTS:
        setattr(fresh, name, {})
    fresh.load_textual_inversion_embeddings(**options)
    return {name: getattr(fresh, name) for name in _LISTS}


def _databases_of_the_api() -> list[Any]:
    """Forge's API has an embedding database of its own, where it is on; one of its routes leads to it."""
    routes = getattr(getattr(shared.demo, "app", None), "routes", ())
    found = (route.endpoint for route in routes if getattr(route, "path", "") == "/sdapi/v1/embeddings")
    return [endpoint.__self__.embedding_db for endpoint in found if hasattr(endpoint, "__self__")]
