"""reForge's host over stand-ins: what differs from the WebUI's and from Forge's."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.checkpoints import params
from tests.hosts.forge.test_host import WIDTH, sd_model
from tests.hosts.stand_ins import Job, WebUI
from train_embedding.engine.loading import ldm
from train_embedding.engine.loading.assign import count_shared_parameters
from train_embedding.hosts.base import Txt2ImgRequest

OURS = (
    "a1111", "a1111.host", "a1111.model", "forge", "forge.base_host", "forge.lent_model", "forge.model", "forge.reforge",
    "webui", "webui.host", "webui.interrogators", "webui.txt2img",
)  # fmt: skip


class ReForge(WebUI):
    """The WebUI's modules, with a checkpoint in Forge's parts behind the WebUI's text encoder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked: list[dict[str, Any]] = []
        made = sd_model(folder)
        transformer = made.forge_objects_original.clip.cond_stage_model.clip_l.transformer
        encoder = SimpleNamespace(
            wrapped=SimpleNamespace(transformer=transformer), minimal_clip_skip=1, id_pad=49407,
            tokenize=lambda texts: [[len(word) for word in text.split()] for text in texts],
        )  # fmt: skip
        made.cond_stage_model, made.parameters, made.modules = encoder, lambda: iter([torch.zeros(1)]), list
        inner = made.forge_objects_original.unet.model
        inner.model_type, inner.manual_cast_dtype = SimpleNamespace(name="V_PREDICTION"), None
        inner.get_dtype = lambda: torch.float32
        self.alphas = torch.linspace(0.99, 0.01, 1000)
        inner.model_sampling = SimpleNamespace(sigmas=((1 - self.alphas) / self.alphas) ** 0.5)
        self.sd_models.model_data.sd_model = self.shared.sd_model = self.sd_model = made
        opts = self.shared.opts
        opts.CLIP_stop_at_last_layers, opts.sdxl_crop_top, opts.sdxl_crop_left = 2, 0, 0
        for name in ("ldm_patched", "ldm_patched.modules"):
            self.all[name] = types.ModuleType(name)
            self.all[name].__path__ = []
        memory = types.ModuleType("ldm_patched.modules.model_management")

        def load_models_gpu(_patchers: Any, memory_required: int = 0, minimum_memory_required: int | None = None) -> None:
            self.asked.append({"memory_required": memory_required, "minimum_memory_required": minimum_memory_required})

        vars(memory).update(load_models_gpu=load_models_gpu)
        vars(self.all["ldm_patched.modules"])["model_management"] = memory
        self.all |= {memory.__name__: memory, "modules_forge": types.ModuleType("modules_forge")}


@pytest.fixture
def reforge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReForge]:
    stand_in = ReForge(tmp_path)
    for name, module in dict(stand_in.all).items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in OURS:
        monkeypatch.delitem(sys.modules, f"train_embedding.hosts.{name}", raising=False)
    monkeypatch.setattr(ldm, "default_config", lambda _state: params())
    yield stand_in
    for name in OURS:
        sys.modules.pop(f"train_embedding.hosts.{name}", None)


@pytest.fixture
def host(reforge: ReForge) -> Any:
    from train_embedding.hosts.detect import detect

    detect.cache_clear()
    try:
        return detect()
    finally:
        detect.cache_clear()


def test_the_facts(host: Any) -> None:
    info = host.info()
    assert type(host).__name__ == "ReForgeHost"
    assert info.name == "Stable Diffusion WebUI reForge v1.10.1"
    assert (info.checkpoint_name, info.widths, info.dtype) == ("tiny", {"clip_l": WIDTH}, "float32")
    assert host.token_embeddings("a bcd")["clip_l"].shape == (2, WIDTH)


def test_the_model_is_forges_and_the_lists_are_the_webuis(host: Any, reforge: ReForge) -> None:
    with host.exclusive("job"), host.model() as model:
        shared, count = count_shared_parameters(
            model.unet, reforge.sd_model.forge_objects_original.unet.model.diffusion_model.state_dict()
        )
        assert shared == count
        assert reforge.asked[0]["minimum_memory_required"] == 0
        assert model.prediction_type == "v_prediction"
        assert torch.allclose(model.alphas_cumprod, reforge.alphas, atol=1e-6)
        assert model.text_encoders[0].layer == 2
        reforge.shared.opts.sd_model_checkpoint = "another"  # somebody chose it meanwhile
        host.txt2img(Txt2ImgRequest("x"))
        assert reforge.during[-1]["fields"]["override_settings"]["sd_model_checkpoint"] == "tiny [0123456789]"
        assert len(reforge.asked) == 2, "brought back after a preview"
    host.reload_embeddings()
    assert reforge.database.loads == [True]
    assert host.loaded_embeddings().names == {"old"}


def test_forge_classic_lacks_what_reforge_added(reforge: ReForge, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_models_gpu(_patchers: Any, memory_required: int = 0) -> None:
        reforge.asked.append({"memory_required": memory_required})

    vars(reforge.all["ldm_patched.modules.model_management"])["load_models_gpu"] = load_models_gpu
    del reforge.sd_model.cond_stage_model.minimal_clip_skip
    del reforge.shared.cmd_opts.textual_inversion_templates_dir
    del reforge.shared.cmd_opts.no_prompt_history
    reforge.launch_utils.git_tag = lambda: "classic"
    del reforge.all["modules"].lowvram
    monkeypatch.delitem(sys.modules, "modules.lowvram")
    from train_embedding.hosts.detect import detect

    detect.cache_clear()
    try:
        classic = detect()
    finally:
        detect.cache_clear()
    info = classic.info()
    assert (info.name, info.templates_folder) == ("Forge Classic", None), "not its name twice"
    assert not {".png", ".webp"} & {*info.file_suffixes}, "it loads no embeddings from images"
    with classic.exclusive("job"), classic.model() as model:
        assert model.text_encoders[0].layer == 2, "as in its settings"
        assert reforge.asked[0]["memory_required"] > 2**31


def test_forge_classics_jobs_have_no_scheduler(reforge: ReForge) -> None:
    """Its samplers have names such as "DPM++ 2M Karras" instead."""
    from train_embedding.hosts.forge.reforge import ForgeClassicHost

    class ClassicJob(Job):
        def __init__(self, **fields: Any) -> None:
            assert "scheduler" not in fields
            super().__init__(**fields)

    reforge.processing.StableDiffusionProcessingTxt2Img = ClassicJob
    classic = ForgeClassicHost()
    with classic.exclusive("job"):
        assert classic.txt2img(Txt2ImgRequest("x")) == "a picture"


def test_forge_classic_keeps_your_last_prompt(reforge: ReForge, tmp_path: Path) -> None:
    """It saves the prompt of every image, and has no option against it."""
    from train_embedding.hosts.forge.reforge import ForgeClassicHost

    del reforge.shared.cmd_opts.no_prompt_history
    file = tmp_path / "params.txt"
    draw = reforge.processing.process_images

    def process_images(job: Any) -> Any:
        file.write_text("the preview's prompt", encoding="utf-8")
        reforge.shared.cmd_opts.no_prompt_history = False
        try:
            return draw(job)
        finally:
            del reforge.shared.cmd_opts.no_prompt_history

    reforge.processing.process_images = process_images
    classic = ForgeClassicHost()
    with classic.exclusive("job"):
        classic.txt2img(Txt2ImgRequest("x"))
        assert not file.exists()
        file.write_text("your prompt", encoding="utf-8")
        classic.txt2img(Txt2ImgRequest("x"))
    assert file.read_text(encoding="utf-8") == "your prompt"


def test_only_interrogators_that_the_program_has_are_offered(reforge: ReForge, tmp_path: Path) -> None:
    """Forge Classic has none, so nobody is sent to a button that is not there."""
    from train_embedding.hosts.forge.reforge import ForgeClassicHost

    classic = ForgeClassicHost()
    assert classic.interrogators() == ()
    reforge.all["modules"].__path__ = [str(tmp_path)]
    (tmp_path / "deepbooru.py").touch()
    assert [interrogator.name for interrogator in classic.interrogators()] == ["deepbooru"]


def test_without_a_checkpoint_there_are_no_facts_of_one(host: Any, reforge: ReForge) -> None:
    reforge.sd_models.model_data.sd_model = None
    assert (host.info().checkpoint_name, host.info().widths) == ("", {})
