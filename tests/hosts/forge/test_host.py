"""Forge's host over stand-ins for Forge's modules; tests/webui and tests/hosts/test_contract.py have the real ones."""

from __future__ import annotations

import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.checkpoints import module_of, params, source
from tests.hosts.forge.formats import FORMATS, GgufParameter, quantise
from tests.hosts.stand_ins import State, WebUI
from train_embedding.embeddings.embedding import Embedding
from train_embedding.engine.layers.quantised import QuantisedLinear
from train_embedding.engine.loading import checkpoint, ldm
from train_embedding.engine.loading.assign import count_shared_parameters
from train_embedding.engine.loading.shared_weights import to_normal_tensor
from train_embedding.engine.model.conditioning import Conditioning
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.prompts.splicing import PromptBatch
from train_embedding.errors import HostFailed
from train_embedding.hosts.base import Txt2ImgRequest

OURS = (
    "forge", "forge.host", "forge.base_host", "forge.lent_model", "forge.model", "forge.quantised", "webui", "webui.host",
    "webui.txt2img",
)  # fmt: skip
WIDTH = 64


class Database:
    """A list of embeddings; `folder` is what it finds when it reads again."""

    def __init__(self, **widths: int) -> None:
        self.folder = widths
        self.ids_lookup: dict[int, Any] = {}
        self.skipped_embeddings: dict[str, Any] = {}
        self.word_embeddings = self._found()
        self.expected_shape = WIDTH
        self.asked: list[dict[str, bool]] = []

    def _found(self) -> dict[str, Any]:
        return {name: SimpleNamespace(name=name, shape=width) for name, width in self.folder.items()}

    def load_textual_inversion_embeddings(self, **options: bool) -> None:
        self.asked.append(options)
        self.word_embeddings.update(self._found())
        self.ids_lookup[7] = sorted(self.folder)

    def find_embedding_at_position(self, _tokens: list[int], _offset: int) -> tuple[Any, int | None]:
        return None, None


class Engine:
    """A text engine, whose tokens are its words' lengths."""

    embedding_key, minimal_clip_skip, final_layer_norm, id_pad = "clip_l", 1, True, 49407

    def __init__(self) -> None:
        self.embeddings = Database(old=WIDTH)

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        return [[len(word) for word in text.split()] for text in texts]


def sd_model(folder: Path) -> Any:
    """A checkpoint in Forge's parts: weights made in inference mode, the token embedding wrapped."""
    # Positions are no weights in the transformers that Forge has.
    state = {key: tensor for key, tensor in source().ldm_state().items() if not key.endswith("position_ids")}

    def part(prefix: str, name: Any = str) -> Any:
        with torch.inference_mode():
            tensors = {key.removeprefix(prefix): tensor.clone() for key, tensor in state.items() if key.startswith(prefix)}
            return module_of(tensors, name)

    unet = part("model.diffusion_model.")
    unet.storage_dtype = torch.float32
    text = part("cond_stage_model.transformer.", lambda key: key.replace("token_embedding.", "token_embedding.wrapped."))
    token_embedding = text.text_model.embeddings.token_embedding
    token_embedding.weight = token_embedding.wrapped.weight
    predictor = SimpleNamespace(alphas_cumprod=torch.linspace(0.99, 0.01, 1000), prediction_type="epsilon")
    inner = SimpleNamespace(diffusion_model=unet, predictor=predictor, computation_dtype=torch.float32)
    towers = SimpleNamespace(clip_l=SimpleNamespace(transformer=text))
    parts = SimpleNamespace(
        unet=SimpleNamespace(model=inner),
        vae=SimpleNamespace(first_stage_model=part("first_stage_model."), patcher="the VAE's patcher"),
        clip=SimpleNamespace(cond_stage_model=towers, patcher="the text encoders' patcher"),
    )
    info = SimpleNamespace(model_name="tiny", shorthash="0123456789", title="tiny [0123456789]")
    info.filename = str(folder / "tiny.safetensors")
    return SimpleNamespace(
        forge_objects_original=parts, sd_checkpoint_info=info, text_processing_engine=Engine(), model_config=SimpleNamespace(),
        is_sd1=True, is_sd2=False, is_sdxl=False, cond_stage_model=None,
    )  # fmt: skip


class Forge(WebUI):
    """The stand-in modules, and what happened to them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.database = Database(old=WIDTH)
        self.of_the_api = Database()
        self.loaded_to: list[tuple[Any, int]] = []
        self.unloads = self.reloads = 0
        self.checkpoint = sd_model(folder)
        chosen = {"checkpoint_info": self.checkpoint.sd_checkpoint_info}
        self.data = SimpleNamespace(sd_model=self.checkpoint, forge_loading_parameters=chosen, forge_hash=str(chosen))
        vars(self.sd_models).update(model_data=self.data, forge_model_reload=self._reload)
        shared = self.shared
        shared.opts.CLIP_stop_at_last_layers, shared.opts.sdxl_crop_top, shared.opts.sdxl_crop_left = 1, 0, 0
        shared.sd_model, shared.state = self.checkpoint, State()
        api = SimpleNamespace(embedding_db=self.of_the_api)
        route = SimpleNamespace(path="/sdapi/v1/embeddings", endpoint=types.MethodType(lambda self: None, api))
        shared.demo = SimpleNamespace(app=SimpleNamespace(routes=[SimpleNamespace(), route]))
        cards = types.ModuleType("modules.ui_extra_networks_textual_inversion")
        cards.embedding_db = self.database  # pyright: ignore[reportAttributeAccessIssue]
        vars(self.all["modules"])["ui_extra_networks_textual_inversion"] = cards
        memory = types.ModuleType("backend.memory_management")
        vars(memory).update(load_models_gpu=self._load_models_gpu, unload_all_models=self._unload_all_models)
        backend = types.ModuleType("backend")
        backend.__path__ = []
        vars(backend)["memory_management"] = memory
        self.all |= {cards.__name__: cards, "backend": backend, memory.__name__: memory}
        modules_forge = types.ModuleType("modules_forge")
        vars(modules_forge)["forge_version"] = self.version = SimpleNamespace(version="2.0.1v1.10.1")
        self.all["modules_forge"] = modules_forge

    @property
    def parts(self) -> Any:
        return self.checkpoint.forge_objects_original

    def _load_models_gpu(self, patchers: list[Any], memory_required: int) -> None:
        assert torch.is_inference_mode_enabled()
        self.loaded_to.append((patchers, memory_required))

    def _unload_all_models(self) -> None:
        self.unloads += 1

    def _reload(self) -> tuple[Any, bool]:
        assert self.call_queue.queue_lock.locked()
        self.reloads += 1
        self.data.sd_model, self.data.forge_hash = self.checkpoint, str(self.data.forge_loading_parameters)
        return self.checkpoint, True

    def _process_images(self, job: Any) -> Any:
        find = self.checkpoint.text_processing_engine.embeddings.find_embedding_at_position
        self.during.append({"found": find([3], 0)[0], "current": self.data.forge_hash == str(self.data.forge_loading_parameters)})
        return SimpleNamespace(images=self.pictures)


@pytest.fixture
def forge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Forge]:
    stand_in = Forge(tmp_path)
    for name, module in dict(stand_in.all).items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in OURS:
        monkeypatch.delitem(sys.modules, f"train_embedding.hosts.{name}", raising=False)
    monkeypatch.setattr(ldm, "default_config", lambda _state: params())
    yield stand_in
    for name in OURS:
        sys.modules.pop(f"train_embedding.hosts.{name}", None)


@pytest.fixture
def host(forge: Forge) -> Any:
    from train_embedding.hosts.detect import detect

    detect.cache_clear()
    try:
        return detect()
    finally:
        detect.cache_clear()


def choose(forge: Forge, name: str) -> Path:
    """Somebody picks another checkpoint in the page; Forge loads it when it makes a picture."""
    file = forge.folder / f"{name}.safetensors"
    save_file({"model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": torch.zeros(1, 2048)}, file)
    forge.data.forge_loading_parameters = {
        "checkpoint_info": SimpleNamespace(filename=str(file), model_name=name, shorthash=None, name=name)
    }
    return file


def test_forge_is_detected(host: Any) -> None:
    assert type(host).__name__ == "ForgeHost"


def test_the_facts_of_the_loaded_checkpoint(host: Any, forge: Forge) -> None:
    info = host.info()
    assert info.name == "Stable Diffusion WebUI Forge v1.10.1"
    assert (info.checkpoint_name, info.checkpoint_hash) == ("tiny", "0123456789")
    assert (info.widths, info.dtype, info.resolution, info.why_no_training) == ({"clip_l": WIDTH}, "float32", 512, "")
    forge.parts.unet.model.predictor.prediction_type = "edm"
    assert '"edm"' in host.info().why_no_training


def test_an_old_torch_would_run_what_a_pickle_holds(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.3.1+cu121")
    assert host.info().runs_pickles
    monkeypatch.setattr(torch, "__version__", "2.6.0+cu124")
    assert not host.info().runs_pickles, "torch reads nothing but weights since 2.6"


def test_a_checkpoint_that_is_chosen_counts_before_it_is_loaded(host: Any, forge: Forge) -> None:
    choose(forge, "large")
    info = host.info()
    assert (info.checkpoint_name, info.widths, info.resolution) == ("large", {"clip_l": 768, "clip_g": 1280}, 1024)
    assert forge.reloads == 0
    forge.data.sd_model, forge.data.forge_loading_parameters = SimpleNamespace(cond_stage_model=None), {}
    assert host.info().checkpoint_name == ""


def test_other_families_are_told_apart(host: Any, forge: Forge) -> None:
    forge.checkpoint.is_sd1 = False
    info = host.info()
    assert info.widths == {}
    assert "SD1, SD2 and SDXL" in info.why_no_training
    with pytest.raises(HostFailed, match="SD1, SD2 and SDXL"):
        host.token_embeddings("a")


def test_flux_is_not_loaded_to_be_refused(host: Any, forge: Forge) -> None:
    save_file({"double_blocks.0.img_mod.lin.weight": torch.zeros(1)}, choose(forge, "flux"))
    with pytest.raises(HostFailed, match="another family"):
        host.token_embeddings("a")
    assert forge.reloads == 0


def test_flux_and_sd3_use_the_embeddings_of_each_text_encoder(host: Any, forge: Forge) -> None:
    """SD3's two text engines load embeddings of one width each, and skip those of SDXL."""
    forge.checkpoint.is_sd1 = False
    engines = {key: Engine() for key in ("text_processing_engine_l", "text_processing_engine_g")}
    del forge.checkpoint.text_processing_engine
    for engine, width in zip(engines.values(), (768, 1280), strict=True):
        found = {"of-sd1": 768, "wide": 1280, "of-sdxl": 2048}
        shapes = {name: SimpleNamespace(name=name, shape=shape) for name, shape in found.items()}
        engine.embeddings.expected_shape = width
        engine.embeddings.word_embeddings = {name: one for name, one in shapes.items() if one.shape == width}
        engine.embeddings.skipped_embeddings = {name: one for name, one in shapes.items() if one.shape != width}
    vars(forge.checkpoint).update(engines)
    loaded = host.loaded_embeddings()
    assert loaded.names == {"of-sd1", "wide"}
    assert loaded.left_out == {"of-sdxl": "Its vectors have width 2048; the loaded checkpoint needs 768 or 1280."}


def test_token_embeddings_are_plain_rows_of_the_table(host: Any, forge: Forge) -> None:
    table = forge.parts.clip.cond_stage_model.clip_l.transformer.text_model.embeddings.token_embedding.weight
    assert table.is_inference()
    rows = host.token_embeddings("a bcd ef")["clip_l"]
    assert torch.equal(rows, table[[1, 3, 2]].float())
    assert not rows.is_inference()
    assert host.token_embeddings("a bcd ef", 2)["clip_l"].shape == (2, WIDTH)
    assert host.vocabulary()["clip_l"].data_ptr() == table.data_ptr()


def test_the_vocabulary_never_loads_a_checkpoint(host: Any, forge: Forge) -> None:
    forge.data.sd_model, forge.data.forge_hash = SimpleNamespace(cond_stage_model=None), ""
    with pytest.raises(HostFailed, match="no checkpoint loaded") as caught:
        host.vocabulary()
    assert "Generate an image first" in caught.value.hint


def test_what_needs_a_model_loads_the_chosen_one_in_the_queue(host: Any, forge: Forge) -> None:
    forge.data.sd_model, forge.data.forge_hash = SimpleNamespace(cond_stage_model=None), ""
    host.token_embeddings("a")
    assert forge.reloads == 1
    assert not forge.call_queue.queue_lock.locked()
    forge.data.forge_hash = ""
    with host.exclusive("job"):
        host.token_embeddings("a")
    assert forge.reloads == 2
    forge.data.forge_hash, forge.data.forge_loading_parameters = "", {"checkpoint_info": None}
    with pytest.raises(HostFailed, match="No checkpoint is selected"):
        host.token_embeddings("a")


def test_every_list_is_read_again_and_none_is_ever_empty(host: Any, forge: Forge) -> None:
    engine = forge.checkpoint.text_processing_engine.embeddings
    before = engine.word_embeddings
    for database in (forge.database, engine):
        database.folder = {"old": WIDTH, "new": WIDTH, "wide": 1024}
    host.reload_embeddings()
    for database in (forge.database, forge.of_the_api, engine):
        assert set(database.word_embeddings) == {"old", "new", "wide"}
        assert database.ids_lookup == {7: ["new", "old", "wide"]}
    assert set(before) == {"old"}, "who reads the list meanwhile sees the old one whole"
    assert forge.database.word_embeddings is not forge.of_the_api.word_embeddings, "each may be cleared by its owner"
    loaded = host.loaded_embeddings()
    assert loaded.names == {"old", "new"}
    assert "1024" in loaded.left_out["wide"]


def test_the_weights_are_shared_and_the_memory_manager_is_told(host: Any, forge: Forge) -> None:
    parts = forge.parts
    with host.exclusive("job"), host.model() as model:
        ((patchers, room),) = forge.loaded_to
        assert patchers == [parts.unet, "the text encoders' patcher", "the VAE's patcher"]
        assert room > 2**31
        state = parts.unet.model.diffusion_model.state_dict()
        shared, count = count_shared_parameters(model.unet, state)
        assert shared == count > 50
        assert not any(parameter.is_inference() for module in model.modules() for parameter in module.parameters())
        assert (model.text_encoders[0].layer, model.text_encoders[0].padding) == (1, 49407)
        assert model.alphas_cumprod[0] == pytest.approx(0.99)
    assert forge.unloads == 0


def test_forge_neo_has_neither_sd2_nor_a_folder_of_templates(host: Any, forge: Forge, tmp_path: Path) -> None:
    from train_embedding.hosts.forge.host import ForgeNeoHost

    del forge.checkpoint.is_sd2
    del forge.shared.cmd_opts.textual_inversion_templates_dir
    forge.version.release = "2.26"
    forge.shared.opts.temp_dir = str(tmp_path / "data" / "tmp")
    neo = ForgeNeoHost()
    assert (tmp_path / "data" / "tmp").is_dir(), "galleries show nothing without it"
    info = neo.info()
    assert (info.name, info.templates_folder, info.resolution) == ("Forge Neo 2.26", None, 512)
    assert (info.widths, info.why_no_training) == ({"clip_l": WIDTH}, "")
    assert ".png" in host.info().file_suffixes
    assert ".png" not in info.file_suffixes, "its cards do not list images"
    with neo.exclusive("job"), neo.model() as model:
        shared, count = count_shared_parameters(model.unet, forge.parts.unet.model.diffusion_model.state_dict())
        assert shared == count > 50


def test_clip_skip_is_the_engines(host: Any, forge: Forge) -> None:
    forge.shared.opts.CLIP_stop_at_last_layers = 2
    with host.model() as model:
        assert (model.text_encoders[0].layer, model.text_encoders[0].normalised) == (2, True)
    forge.checkpoint.text_processing_engine.minimal_clip_skip = 3
    with host.model() as model:
        assert model.text_encoders[0].layer == 3


def test_weights_that_were_moved_meanwhile_are_shared_again(host: Any, forge: Forge) -> None:
    unet = forge.parts.unet.model.diffusion_model
    with host.exclusive("job"), host.model() as model:
        with torch.inference_mode():
            for parameter in unet.parameters():
                parameter.data = parameter.data.clone()
        assert count_shared_parameters(model.unet, unet.state_dict())[0] == 0
        host.txt2img(Txt2ImgRequest("x"))
        shared, count = count_shared_parameters(model.unet, unet.state_dict())
        assert shared == count
        assert len(forge.loaded_to) == 2


@pytest.mark.parametrize("kind", FORMATS)
def test_training_goes_through_quantised_layers(host: Any, forge: Forge, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """It has the gradients of a model with their values, and leaves the program's weights as they are."""
    unet = forge.parts.unet.model.diffusion_model
    values = quantise(unet, kind, monkeypatch)
    before = {name: (parameter, parameter.data.clone()) for name, parameter in unet.named_parameters()}
    monkeypatch.setattr(checkpoint, "load_checkpoint", lambda *_: pytest.fail("read the file"))
    with host.exclusive("job"), host.model() as model:
        assert len(forge.loaded_to) == 1
        assert (model.dtype, model.unet.conv_in.bias.dtype) == (torch.float32, torch.float32)
        held = sum(parameter.numel() for parameter in model.unet.parameters())
        assert held < 0.05 * sum(value.numel() for value in values.values()), "only norms and biases are parameters"
        mine = gradient(model)
        host.txt2img(Txt2ImgRequest("x"))
        assert torch.equal(gradient(model), mine), "and again after a preview"
    plain = {f"model.diffusion_model.{name}": value for name, value in values.items()}
    state = {key: to_normal_tensor(tensor) for key, tensor in {**source().ldm_state(), **plain}.items()}
    assert torch.equal(mine, gradient(ldm.build_model(state, params())))
    after = dict(unet.named_parameters())
    for name, (parameter, data) in before.items():
        assert after[name] is parameter
        assert torch.equal(parameter.data.flatten().view(torch.uint8), data.flatten().view(torch.uint8))


def test_a_quantised_weight_that_is_replaced_meanwhile_is_used(host: Any, forge: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the memory manager does when it moves GGUF weights."""
    unet = forge.parts.unet.model.diffusion_model
    quantise(unet, "gguf", monkeypatch)
    layer = unet.get_submodule("middle_block.1.transformer_blocks.0.attn2.to_k")
    with host.exclusive("job"), host.model() as model:
        before = gradient(model)
        with torch.inference_mode():
            layer.weight = GgufParameter(torch.zeros(layer.weight.shape))
        assert not torch.equal(gradient(model), before)
        expected = torch.zeros(layer.weight.shape)
        held = model.unet.mid_block.attentions[0].transformer_blocks[0].attn2.to_k.quantised
        assert torch.equal(held.dequantised(torch.device("cpu"), torch.float32), expected)


def test_a_quantised_text_encoder_is_shared_too(host: Any, forge: Forge) -> None:
    text = forge.parts.clip.cond_stage_model.clip_l.transformer
    embeddings = text.text_model.embeddings
    with torch.inference_mode():
        embeddings.token_embedding.wrapped = nn.Embedding.from_pretrained(embeddings.token_embedding.weight)
        embeddings.position_embedding = nn.Embedding.from_pretrained(embeddings.position_embedding.weight)
        for parameter in text.parameters():
            parameter.data = parameter.data.to(torch.float8_e4m3fn)
    with host.exclusive("job"), host.model() as model:
        encoder = model.text_encoders[0]
        assert encoder.token_embedding.weight.dtype == torch.float32
        assert len([layer for layer in encoder.module.modules() if isinstance(layer, QuantisedLinear)]) > 5
        table = torch.randn(1, WIDTH, requires_grad=True)
        prompts = PromptBatch(torch.zeros(1, 1, 77, dtype=torch.long), torch.zeros(1, 1, 77, dtype=torch.long))
        encoder.encode(prompts, table)[0].square().sum().backward()
        assert table.grad is not None
        assert float(table.grad.abs().max()) > 0


def gradient(model: DiffusionModel) -> torch.Tensor:
    """The gradient of the context, [1, 77, d], for fixed inputs."""
    generator = torch.Generator().manual_seed(5)
    with torch.inference_mode(False), torch.enable_grad():
        context = torch.randn(1, 77, WIDTH, generator=generator, requires_grad=True)
        noisy = torch.randn(1, 4, 8, 8, generator=generator)
        model.predict(noisy, torch.tensor([500]), Conditioning(context)).square().sum().backward()
    assert context.grad is not None
    assert float(context.grad.abs().max()) > 0
    return context.grad


def test_weights_in_an_unknown_format_are_read_from_the_file(host: Any, forge: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    unet = forge.parts.unet.model.diffusion_model
    asked: list[tuple[Path, dict[str, Any]]] = []
    with host.model() as model:
        read = model
    monkeypatch.setattr(checkpoint, "load_checkpoint", lambda path, **options: asked.append((path, options)) or read)
    with torch.inference_mode():
        unet.quantised = nn.Parameter(torch.zeros(2, dtype=torch.uint8), requires_grad=False)
    with host.exclusive("job"), host.model():
        assert (forge.loaded_to, forge.unloads) == ([], 1), "Forge's own model makes way"
    ((path, options),) = asked
    assert path == forge.folder / "tiny.safetensors"
    assert (options["device"], options["dtype"]) == ("cpu", torch.float32)
    kinds = {key.split(".")[0] for key in options["instead"]}
    assert kinds == {"first_stage_model", "cond_stage_model"}
    assert not any(tensor.is_inference() for tensor in options["instead"].values())


def test_weights_of_which_a_part_stays_in_main_memory_are_read_too(
    host: Any, forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    unet = forge.parts.unet.model.diffusion_model
    with host.model() as model:
        read = model
    monkeypatch.setattr(checkpoint, "load_checkpoint", lambda _path, **_options: read)
    load = forge.all["backend.memory_management"].load_models_gpu

    def load_a_part(*arguments: Any, **options: Any) -> None:
        load(*arguments, **options)
        unet.elsewhere = nn.Parameter(torch.zeros(2, device="meta"), requires_grad=False)

    forge.all["backend.memory_management"].load_models_gpu = load_a_part
    with host.exclusive("job"), host.model():
        assert (len(forge.loaded_to), forge.unloads) == (1, 1)
        host.txt2img(Txt2ImgRequest("x"))
        assert (len(forge.loaded_to), forge.unloads) == (1, 2), "Forge's own came for the preview, and makes way again"


def test_no_room_for_what_is_read_is_said(host: Any, forge: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path, **_options: Any) -> None:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(checkpoint, "load_checkpoint", full)
    forge.parts.unet.model.diffusion_model.packed = nn.Parameter(torch.zeros(2, dtype=torch.uint8), requires_grad=False)
    with host.exclusive("job"), pytest.raises(HostFailed, match="Not enough GPU memory"), host.model():
        pytest.fail("gave a model all the same")


def test_a_file_that_is_quantised_itself_cannot_be_trained_on(host: Any, forge: Forge) -> None:
    forge.parts.unet.model.diffusion_model.packed = nn.Parameter(torch.zeros(2, dtype=torch.uint8), requires_grad=False)
    forge.checkpoint.sd_checkpoint_info.filename = "model.gguf"
    forge.data.forge_hash = str(forge.data.forge_loading_parameters)
    assert "quantized (gguf)" in host.info().why_no_training
    with pytest.raises(HostFailed, match="gguf"), host.model():
        pytest.fail("gave a model all the same")


def test_previews_are_made_with_the_lent_model(host: Any, forge: Forge) -> None:
    new = Embedding("new", {"clip_l": torch.ones(2, WIDTH)})
    with host.exclusive("job"), host.model():
        choose(forge, "other")
        assert host.info().checkpoint_name == "tiny"
        host.txt2img(Txt2ImgRequest("a new", embeddings=(new,)))
        (during,) = forge.during
        assert during["current"], "Forge would have loaded the other one"
        assert during["found"].name == "new"
        assert forge.data.forge_hash != str(forge.data.forge_loading_parameters), "it loads the other one afterwards"
    assert "find_embedding_at_position" not in vars(forge.checkpoint.text_processing_engine.embeddings)
    assert host.info().checkpoint_name == "other"


@pytest.mark.parametrize("changes", [False, True])
def test_giving_way_ends_a_run_only_when_another_checkpoint_was_loaded(host: Any, forge: Forge, changes: bool) -> None:
    waiting: list[Any] = []
    forge.call_queue.queue_lock = Queue(waiting)

    def another() -> None:
        with forge.call_queue.queue_lock:
            if changes:
                forge.data.sd_model = sd_model(forge.folder)

    thread = threading.Thread(target=another)
    with host.exclusive("job"), host.model():
        host.yield_queue()
        waiting.append(thread)
        thread.start()
        time.sleep(0.05)
        if changes:
            with pytest.raises(HostFailed, match="another checkpoint"):
                host.yield_queue()
        else:
            host.yield_queue()
        thread.join()
        assert host.info().checkpoint_name == "tiny"


class Queue:
    """Forge's FIFO lock, as far as giving way looks into it."""

    def __init__(self, pending: list[Any]) -> None:
        self._lock, self._pending_threads = threading.Lock(), pending
        self.acquire, self.locked = self._lock.acquire, self._lock.locked

    def release(self) -> None:
        self._pending_threads.clear()
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_error: object) -> None:
        self.release()
