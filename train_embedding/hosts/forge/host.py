"""Forge as a host. This module can be imported only in Forge's process.

It uses these names of Forge dfdcbab6, and those listed in webui/host.py and forge/model.py:

    sd_models       model_data: sd_model, forge_loading_parameters (of the selected checkpoint), forge_hash (of the loaded one);
                    forge_model_reload (loads the selected one if it is not loaded)
    sd model        text_processing_engine or its _l and _g: embeddings, tokenize, embedding_key, minimal_clip_skip,
                    final_layer_norm, id_pad; forge_objects_original.unet.model: predictor, computation_dtype; model_config
    embeddings      ui_extra_networks_textual_inversion.embedding_db (its cards), that of the API, and one per engine: ids_lookup,
                    word_embeddings, skipped_embeddings, load_textual_inversion_embeddings
    backend         memory_management: load_models_gpu, unload_all_models
    shared          opts (temp_dir in Forge Neo), demo
    modules_forge   forge_version: release (Forge Neo)
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from backend import memory_management
from modules import call_queue, sd_models, shared, ui_extra_networks_textual_inversion
from modules_forge import forge_version

from train_embedding.errors import HostFailed
from train_embedding.hosts.base import LoadedEmbeddings, Txt2ImgRequest
from train_embedding.hosts.forge import model as forge_model
from train_embedding.hosts.forge.base_host import ForgeBaseHost
from train_embedding.hosts.forge.checkpoint_file import facts_of_file
from train_embedding.hosts.forge.model import EncoderSettings, NoiseSchedule
from train_embedding.hosts.webui.host import clear_conditioning_cache, width_mismatch
from train_embedding.hosts.webui.txt2img import EmbeddingDatabase, generate
from train_embedding.messages import joined, msg, verbatim

if TYPE_CHECKING:
    from PIL import Image

_LISTS = ("ids_lookup", "word_embeddings", "skipped_embeddings")
"Attributes of an embedding database with the content of its folder."


class ForgeHost(ForgeBaseHost):
    """A `hosts.base.Host` that uses Forge's modules."""

    title = "Stable Diffusion WebUI Forge"
    how_to_load = msg("Generate an image first; Forge then loads the selected checkpoint.")
    memory = memory_management
    load_options: dict[str, Any] = {}  # noqa: RUF012

    def _checkpoint_facts(self) -> dict[str, Any]:
        """Return facts about the lent model, or else about the selected checkpoint, whether it is loaded or not."""
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
        alphas = getattr(predictor, "alphas_cumprod", torch.empty(0))  # other model families have none
        return NoiseSchedule(alphas, predictor.prediction_type, getattr(sd_model.model_config, "ztsnr", False))

    def _compute_dtype(self, sd_model: Any) -> torch.dtype:
        return _inner(sd_model).computation_dtype

    def _available_model(self) -> Any:
        """Return the lent model, or the loaded one if it is the selected checkpoint; else None."""
        lent, data = self._lent, sd_models.model_data
        if lent is not None:
            return lent.sd_model
        is_chosen = data.forge_hash == str(data.forge_loading_parameters)
        return data.sd_model if is_chosen and hasattr(data.sd_model, "forge_objects_original") else None

    def _require_model(self) -> Any:
        """Return the available model; if there is none, wait for the queue and load the selected checkpoint."""
        sd_model = self._available_model()
        if sd_model is not None:
            return sd_model
        if reason := self._checkpoint_facts().get("why_no_training"):
            raise HostFailed(reason)  # rather than load a checkpoint of Flux, which may take minutes
        with nullcontext() if self._working() else call_queue.queue_lock:
            return _load_selected()

    def _token_tables(self, sd_model: Any) -> list[tuple[str, torch.Tensor, Any]]:
        engines = {engine.embedding_key: engine for engine in _engines(sd_model)}
        return [
            (key, forge_model.token_table(clip_model), lambda text, engine=engines[key]: engine.tokenize([text])[0])
            for key, clip_model in forge_model.clip_models(sd_model).items()
            if key in forge_model.widths_of(sd_model)
        ]

    def reload_embeddings(self) -> None:
        """Reload all of Forge's embedding databases without waiting for the queue, so that it works during a run.

        Each is replaced only after it was read completely.
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
        """Return the embeddings of the text engines, or those that the cards show if no checkpoint is loaded yet."""
        sd_model = self._available_model()
        engines = _engines(sd_model)
        widths = self._checkpoint_facts().get("widths", {})
        if engines and not widths:
            return _loaded_by_any(engines)
        database = engines[0].embeddings if engines else ui_extra_networks_textual_inversion.embedding_db
        found = {**database.skipped_embeddings, **database.word_embeddings}
        left_out = {
            name: width_mismatch(embedding, widths)
            for name, embedding in found.items()
            if widths and embedding.shape != sum(widths.values())
        }
        return LoadedEmbeddings(frozenset(found) - frozenset(left_out), left_out)

    def txt2img(self, request: Txt2ImgRequest) -> Image.Image:
        """Generate an image like the Generate button, but without scripts of other extensions; the image is not saved."""
        with self._lent_checkpoint_selected():
            databases = [
                EmbeddingDatabase(engine.embeddings, lambda text, engine=engine: engine.tokenize([text])[0])
                for engine in _engines(self._require_model())
            ]
            image = generate(request, databases, {})
        self._reclaim()
        return image

    @contextmanager
    def _lent_checkpoint_selected(self) -> Iterator[None]:
        """Make previews use the lent model until exit, even if another checkpoint was selected during the run."""
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


class ForgeNeoHost(ForgeHost):
    """Forge Neo, which has Forge's modules without SD2. Its cards do not list embeddings in images."""

    title = "Forge Neo"
    file_suffixes = (".pt", ".safetensors", ".bin")

    def __init__(self) -> None:
        """Create the folder where galleries save what they show: Forge Neo creates it only when the setting is changed."""
        super().__init__()
        if shared.opts.temp_dir:
            Path(shared.opts.temp_dir).mkdir(parents=True, exist_ok=True)

    def _version(self) -> str:
        """Return Forge Neo's release, such as "2.26"; its tag is "neo" in every release."""
        return str(getattr(forge_version, "release", "")) or super()._version()


def _load_selected() -> Any:
    """Load the selected checkpoint if it is not loaded yet, and return it; the caller holds the queue."""
    chosen = sd_models.model_data.forge_loading_parameters.get("checkpoint_info")
    if chosen is None:
        raise HostFailed(msg("No checkpoint is selected in Forge."), msg("Choose a checkpoint at the top of the page."))
    try:
        return sd_models.forge_model_reload()[0]
    except (
        ValueError,
        RuntimeError,
        OSError,
        AssertionError,
        KeyError,
    ) as error:  # the loader's errors for unusable files
        raise HostFailed(
            msg('Forge could not load "{checkpoint}": {reason}', checkpoint=chosen.name, reason=verbatim(str(error)))
        ) from error


def _inner(sd_model: Any) -> Any:
    return forge_model.forge_objects(sd_model).unet.model


def _engines(sd_model: Any) -> list[Any]:
    """Return the text engines, each with its own embedding database; none if no checkpoint is loaded."""
    names = ("text_processing_engine", "text_processing_engine_l", "text_processing_engine_g")
    engines = (getattr(sd_model, name, None) for name in names)
    return [engine for engine in engines if hasattr(engine, "embeddings")]


def _loaded_by_any(engines: list[Any]) -> LoadedEmbeddings:
    """Return what the text engines of another model family have loaded: each of Flux's and SD3's takes its own width only."""
    databases = [engine.embeddings for engine in engines]
    loaded = {name for database in databases for name in database.word_embeddings}
    needed = joined((str(database.expected_shape) for database in databases), msg(" or "))
    left_out = {
        name: msg("Its vectors have width {width}; the loaded checkpoint needs {needed}.", width=embedding.shape, needed=needed)
        for database in databases
        for name, embedding in database.skipped_embeddings.items()
        if name not in loaded
    }
    return LoadedEmbeddings(frozenset(loaded), left_out)


def _read_again(database: Any, **options: Any) -> dict[str, Any]:
    """Return the content that a database would have after reading the embeddings folder again; the database is unchanged."""
    fresh = copy.copy(database)
    for name in _LISTS:
        setattr(fresh, name, {})
    fresh.load_textual_inversion_embeddings(**options)
    return {name: getattr(fresh, name) for name in _LISTS}


def _databases_of_the_api() -> list[Any]:
    """Return the embedding database of Forge's API, which is accessible through one of its routes; none if the API is off."""
    routes = getattr(getattr(shared.demo, "app", None), "routes", ())
    found = (route.endpoint for route in routes if getattr(route, "path", "") == "/sdapi/v1/embeddings")
    return [endpoint.__self__.embedding_db for endpoint in found if hasattr(endpoint, "__self__")]
