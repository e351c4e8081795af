"""The WebUI's host over stand-ins for the WebUI's modules; tests/webui has the real ones."""

from __future__ import annotations

import queue
import sys
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.hosts.stand_ins import AModel, Job, TextEncoder, WebUI
from train_embedding.embeddings.embedding import Embedding
from train_embedding.errors import HostFailed
from train_embedding.hosts.base import Progress, Txt2ImgRequest

shared_weights = pytest.importorskip("train_embedding.engine.loading.shared_weights")
ldm = pytest.importorskip("train_embedding.engine.loading.ldm")
checkpoint = pytest.importorskip("train_embedding.engine.loading.checkpoint")


@pytest.fixture
def webui(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebUI]:
    stand_in = WebUI(tmp_path)
    for name, module in stand_in.all.items():
        monkeypatch.setitem(sys.modules, name, module)
    ours = tuple(
        f"train_embedding.hosts.{name}" for name in ("a1111", "a1111.host", "a1111.model", "webui", "webui.host", "webui.txt2img")
    )
    for name in ours:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield stand_in
    for name in ours:
        sys.modules.pop(name, None)


@pytest.fixture
def host(webui: WebUI) -> Any:
    from train_embedding.hosts.a1111.host import A1111Host

    return A1111Host()


def embedding(name: str, width: int = 4) -> Embedding:
    return Embedding(name, {"clip_l": torch.ones(2, width)}, step=3)


def test_the_facts(host: Any, tmp_path: Path) -> None:
    info = host.info()
    assert info.name == "AUTOMATIC1111 WebUI v1.10.1"
    assert (info.checkpoint_name, info.checkpoint_hash) == ("tiny", "0123456789")
    assert (info.widths, info.resolution) == ({"clip_l": 4}, 64)
    assert (info.device, info.dtype) == ("cpu", "float16")
    assert (info.embeddings_folder, info.allowed_folders, info.why_no_training) == (tmp_path / "embeddings", None, "")


def test_the_runs_folder_is_one_that_the_webui_does_not_serve(host: Any, tmp_path: Path) -> None:
    inside = host.info().runs_folder.relative_to(tmp_path)
    assert any(part.startswith(".") for part in inside.parts)


@pytest.mark.parametrize(
    ("options", "language"),
    [
        ({}, ""),
        ({"localization": "None"}, ""),
        ({"localization": "zh_CN"}, "zh_CN"),
        ({"localization": "None", "bilingual_localization_file": "zh-Hans (Stable)"}, "zh-Hans (Stable)"),
        ({"bilingual_localization_file": "zh_CN", "bilingual_localization_enabled": False}, ""),
        ({"localization": "ja_JP", "bilingual_localization_file": "zh_CN"}, "ja_JP"),
    ],
)
def test_the_language_is_that_of_the_interface(host: Any, webui: WebUI, options: dict[str, object], language: str) -> None:
    """The extension sd-webui-bilingual-localization needs the WebUI's own setting to be "None"."""
    vars(webui.shared.opts).update(options)
    assert host.info().language == language


def test_facts_never_load_a_checkpoint(host: Any, webui: WebUI) -> None:
    webui.sd_models.model_data.sd_model = None
    del webui.shared.sd_model
    info = host.info()
    assert (info.widths, info.checkpoint_name) == ({}, "")
    host.reload_embeddings()
    assert webui.database.loads == []


@pytest.mark.parametrize("option", ["webui_is_non_local", "hide_ui_dir_config"])
def test_a_shared_server_allows_its_own_folder_and_the_named_ones(host: Any, webui: WebUI, tmp_path: Path, option: str) -> None:
    setattr(webui.shared.cmd_opts, option, True)
    webui.shared.cmd_opts.train_embedding_allow = [str(tmp_path / "named")]
    assert host.info().allowed_folders == (tmp_path, tmp_path / "named")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda webui: setattr(webui.sd_model, "is_sd3", True), "SD1, SD2 and SDXL"),
        (lambda webui: setattr(webui.sd_model, "is_ssd", True), "SD1, SD2 and SDXL"),
        (lambda webui: setattr(webui.sd_model.model, "conditioning_key", "crossattn-adm"), "variations"),
        (lambda webui: setattr(webui.sd_model.model, "diffusion_model", SimpleNamespace(in_channels=8)), "editing"),
        (lambda webui: as_sdxl(webui, 1280), "refiner"),
        (lambda webui: setattr(webui.sd_model, "cond_stage_model", SimpleNamespace()), "does not support embeddings"),
    ],
)
def test_why_there_is_no_training(host: Any, webui: WebUI, change: Any, words: str) -> None:
    change(webui)
    assert words in host.info().why_no_training
    with pytest.raises(HostFailed, match=words), host.model():
        pytest.fail("gave a model all the same")


def as_sdxl(webui: WebUI, *widths: int) -> None:
    """The checkpoint becomes one with sgm's text encoders of these widths."""
    webui.sd_model.is_sd1, webui.sd_model.is_sdxl = False, True
    webui.sd_model.conditioner = SimpleNamespace(embedders=[TextEncoder(width) for width in widths] + [SimpleNamespace()])


def test_an_inpainting_checkpoint_can_be_trained_on(host: Any, webui: WebUI) -> None:
    webui.sd_model.model = SimpleNamespace(conditioning_key="hybrid", diffusion_model=SimpleNamespace(in_channels=9))
    assert host.info().why_no_training == ""


def test_the_facts_of_sdxl(host: Any, webui: WebUI) -> None:
    as_sdxl(webui, 768, 1280)
    info = host.info()
    assert info.widths == {"clip_l": 768, "clip_g": 1280}
    assert (info.resolution, info.why_no_training) == (1024, "")
    tables = host.token_embeddings("a bcd ef", 2)
    assert {key: table.shape for key, table in tables.items()} == {"clip_l": (2, 768), "clip_g": (2, 1280)}


def test_sd2_spreads_its_vectors_over_the_whole_text(host: Any, webui: WebUI) -> None:
    webui.sd_model.cond_stage_model = TextEncoder(1024)
    assert host.token_embeddings("a bcd ef", 2)["clip_h"].shape == (3, 1024)


def test_a_checkpoint_that_is_being_switched_is_waited_for(host: Any, webui: WebUI) -> None:
    """The WebUI holds its queue while it loads another checkpoint, and has no model then."""
    loaded, answers = webui.sd_models.model_data.sd_model, queue.Queue[Any]()
    webui.sd_models.model_data.sd_model = None
    with webui.call_queue.queue_lock:
        asking = threading.Thread(target=lambda: answers.put(host.token_embeddings("a bcd ef")))
        asking.start()
        with pytest.raises(queue.Empty):
            answers.get(timeout=0.2)
        webui.sd_models.model_data.sd_model = loaded
    asking.join()
    assert answers.get_nowait()["clip_l"].shape == (3, 4)


def test_token_embeddings_are_rows_of_the_hosts_table(host: Any, webui: WebUI) -> None:
    table = host.token_embeddings("a bcd ef")
    assert table["clip_l"].equal(webui.sd_model.cond_stage_model.weight[[1, 3, 2]].float())
    assert host.token_embeddings("a bcd ef", 2)["clip_l"].shape == (2, 4)
    assert host.token_embeddings("")["clip_l"].shape == (0, 4)


def test_the_vocabulary_is_the_hosts_own_table(host: Any, webui: WebUI) -> None:
    assert host.vocabulary()["clip_l"].data_ptr() == webui.sd_model.cond_stage_model.weight.data_ptr()
    as_sdxl(webui, 768, 1280)
    assert {key: table.shape for key, table in host.vocabulary().items()} == {"clip_l": (10, 768), "clip_g": (10, 1280)}


def test_the_vocabulary_never_loads_a_checkpoint(host: Any, webui: WebUI) -> None:
    webui.sd_model.cond_stage_model = SimpleNamespace()
    with pytest.raises(HostFailed, match="does not support embeddings"):
        host.vocabulary()
    webui.sd_models.model_data.sd_model = None
    del webui.shared.sd_model
    with pytest.raises(HostFailed, match="no checkpoint loaded"):
        host.vocabulary()


def test_a_job_holds_the_queue_and_shows_in_the_progress(host: Any, webui: WebUI) -> None:
    state = webui.shared.state
    with host.exclusive("Training my-cat"):
        assert webui.call_queue.queue_lock.locked()
        host.report(Progress(3, 40, "my-cat: <b>"))
        assert (state.job, state.job_no, state.job_count, state.textinfo) == ("Training my-cat", 3, 40, "my-cat: &lt;b&gt;")
        state.job, state.job_count = "", 0  # what a quick handler of the WebUI does when it ends
        host.report(Progress(4, 40))
        assert (state.job, state.job_no, state.job_count) == ("Training my-cat", 4, 40)
    assert not webui.call_queue.queue_lock.locked()
    assert (state.job, state.job_count) == ("", 0)
    assert webui.finished == ["task(train-embedding-1)"]


def test_a_job_that_fails_gives_everything_back(host: Any, webui: WebUI) -> None:
    def fail() -> None:
        with host.exclusive("job"):
            webui.shared.state.interrupted = True
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not webui.call_queue.queue_lock.locked()
    assert not webui.shared.state.interrupted
    assert webui.shared.state.job == ""
    assert webui.finished


@pytest.mark.parametrize("flag", ["interrupted", "stopping_generation"])
def test_interrupt_is_not_forgotten_within_the_job(host: Any, webui: WebUI, flag: str) -> None:
    with host.exclusive("one"):
        assert not host.interrupted()
        setattr(webui.shared.state, flag, True)
        assert host.interrupted()
        setattr(webui.shared.state, flag, False)  # the WebUI's own jobs clear it
        assert host.interrupted()
    with host.exclusive("two"):
        assert not host.interrupted()


def test_a_reload_is_forced_and_forgets_encoded_prompts(host: Any, webui: WebUI) -> None:
    host.reload_embeddings()
    assert webui.database.loads == [True]
    assert Job.cached_c == Job.cached_uc == Job.cached_hr_c == Job.cached_hr_uc == [None, None]


def test_what_is_loaded_and_what_is_not(host: Any) -> None:
    loaded = host.loaded_embeddings()
    assert loaded.names == {"old"}
    assert "1024" in loaded.left_out["wide"]
    assert "4" in loaded.left_out["wide"]


def test_a_picture_uses_the_given_embeddings_and_leaves_no_trace(host: Any, webui: WebUI) -> None:
    state, hijack = webui.shared.state, webui.sd_hijack.model_hijack
    with host.exclusive("job"):
        host.report(Progress(7, 10, "text"))
        random_state = torch.get_rng_state()
        picture = host.txt2img(Txt2ImgRequest("a new", steps=4, seed=5, embeddings=(embedding("new"), embedding("new hello"))))
        assert picture == "a picture"
        assert (state.job, state.job_no, state.job_count, state.textinfo) == ("job", 7, 10, "text")
        assert (state.sampling_step, state.sampling_steps, state.current_latent, state.skipped) == (0, 0, None, False)
        assert state.current_image == "a picture"
    assert torch.equal(torch.get_rng_state(), random_state)
    assert hijack.embedding_db is webui.database
    assert set(webui.database.word_embeddings) == {"old"}
    assert not webui.shared.cmd_opts.no_prompt_history
    (during,) = webui.during
    assert during["found"][3].name == "new"
    assert during["found"][3].vectors == 2
    assert during["found"][7].name == "old"
    assert during["long"] == 2, "the longest name wins"
    assert during["caches"] == ([None, None], [None, None])
    assert not during["history"]
    assert during["fields"]["do_not_save_samples"]
    assert during["fields"]["do_not_reload_embeddings"]
    assert during["fields"]["override_settings"] == {}


def test_a_given_embedding_goes_before_one_of_the_same_name(host: Any, webui: WebUI) -> None:
    with host.exclusive("job"):
        host.txt2img(Txt2ImgRequest("seven77", embeddings=(embedding("seven77"),)))
    assert webui.during[0]["found"][7].name == "seven77"


def test_a_picture_that_fails_leaves_no_trace_either(host: Any, webui: WebUI) -> None:
    def fail(_job: Any) -> Any:
        webui.shared.state.job = "scripts_txt2img"
        raise ZeroDivisionError

    webui.processing.process_images = fail
    with host.exclusive("job"):
        with pytest.raises(ZeroDivisionError):
            host.txt2img(Txt2ImgRequest("a new", embeddings=(embedding("new"),)))
        assert webui.shared.state.job == "job"
    assert webui.sd_hijack.model_hijack.embedding_db is webui.database
    assert not webui.shared.cmd_opts.no_prompt_history


def test_no_picture_and_no_sampler_are_said(host: Any, webui: WebUI) -> None:
    with host.exclusive("job"):
        with pytest.raises(HostFailed, match="Eular"):
            host.txt2img(Txt2ImgRequest("x", sampler="Eular"))
        webui.pictures = []
        with pytest.raises(HostFailed, match="returned no image"):
            host.txt2img(Txt2ImgRequest("x"))


def test_interrupting_a_preview_interrupts_the_run(host: Any, webui: WebUI) -> None:
    make = webui.processing.process_images

    def interrupted(job: Any) -> Any:
        webui.shared.state.interrupted = True
        return make(job)

    webui.processing.process_images = interrupted
    with host.exclusive("job"):
        host.txt2img(Txt2ImgRequest("x"))
        assert host.interrupted()


def test_the_borrowed_weights_keep_their_checkpoint_and_lose_their_lora(
    host: Any, webui: WebUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_weights, "model_from_host_weights", lambda *_arguments, **_options: AModel())
    monkeypatch.setattr(shared_weights, "ldm_state", lambda _sd_model: {})
    monkeypatch.setattr(ldm, "read_config", lambda _path: {})
    changed, untouched = SimpleNamespace(network_current_names=("a",)), SimpleNamespace()
    restored: list[Any] = []
    networks = types.ModuleType("networks")
    vars(networks).update(loaded_networks=["a lora"], load_networks=_emptying(networks), network_apply_weights=restored.append)
    monkeypatch.setitem(sys.modules, "networks", networks)
    webui.sd_model.modules = lambda: [changed, untouched]
    webui.sd_model.parameters = lambda: iter([torch.zeros(1)])
    webui.sd_model.used_config, webui.sd_model.alphas_cumprod = "config.yaml", torch.ones(1)
    transformer = webui.sd_model.cond_stage_model.wrapped.transformer
    transformer.config = SimpleNamespace(to_dict=dict)
    webui.shared.opts.CLIP_stop_at_last_layers = 1
    with host.exclusive("job"), host.model() as model:
        assert model == AModel()
        assert restored == [changed]
        assert networks.loaded_networks == []
        host.txt2img(Txt2ImgRequest("x"))
        assert webui.during[-1]["fields"]["override_settings"] == {}
        webui.shared.opts.sd_model_checkpoint = "another"  # somebody chose it meanwhile; the WebUI will load it after the run
        host.txt2img(Txt2ImgRequest("x"))
        assert list(webui.during[-1]["fields"]["override_settings"].items()) == [
            ("fp8_storage", "Disable"),
            ("sd_model_checkpoint", "tiny.safetensors [0123456789]"),
        ]
        assert restored == [changed] * 3
    host.txt2img(Txt2ImgRequest("x"))
    assert webui.during[-1]["fields"]["override_settings"] == {}


@pytest.mark.parametrize("reason", ["fp8", "medvram"])
def test_weights_that_cannot_be_shared_are_read_from_the_file(
    host: Any, webui: WebUI, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reason: str
) -> None:
    if reason == "fp8":
        webui.devices.fp8 = True
    else:
        webui.lowvram.is_enabled = lambda _model: True
    asked: list[tuple[Path, dict[str, Any]]] = []
    monkeypatch.setattr(checkpoint, "load_checkpoint", lambda path, **options: asked.append((path, options)) or AModel())
    sd_model, schedule = webui.sd_model, torch.linspace(0.9, 0.1, 5, dtype=torch.float64)
    sd_model.parameters, sd_model.modules = lambda: iter([torch.zeros(1)]), list
    sd_model.used_config, sd_model.alphas_cumprod = "config.yaml", schedule
    sd_model.sd_checkpoint_info.filename = str(tmp_path / "a.safetensors")
    sd_model.first_stage_model = torch.nn.ParameterDict({"decoder": torch.nn.Parameter(torch.ones(3))})
    webui.shared.opts.CLIP_stop_at_last_layers, webui.shared.opts.sdxl_crop_top = 2, 8
    moves: list[str] = []
    webui.sd_models.send_model_to_cpu = lambda _model: moves.append("away")
    webui.sd_models.send_model_to_device = lambda _model: moves.append("back")
    with host.exclusive("job"), host.model() as model:
        assert moves == ["away"]
        assert model.alphas_cumprod.dtype == torch.float32
        assert model.alphas_cumprod.tolist() == pytest.approx(schedule.tolist())
        assert model.crop == (8, 0)
    assert moves == ["away", "back"]
    ((path, options),) = asked
    assert path == tmp_path / "a.safetensors"
    assert options.pop("instead")["first_stage_model.decoder"].tolist() == [1, 1, 1]
    expected = {"device": "cpu", "dtype": torch.float16, "clip_skip": 2, "config": Path("config.yaml")}
    assert options == expected


@pytest.mark.parametrize(("setting", "clip_skip"), [(False, None), (True, 3)])
def test_clip_skip_of_sdxl_is_a_setting_of_its_own(
    host: Any, webui: WebUI, monkeypatch: pytest.MonkeyPatch, setting: bool, clip_skip: int | None
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(
        shared_weights, "model_from_host_weights", lambda *_arguments, **options: asked.append(options) or AModel()
    )
    monkeypatch.setattr(shared_weights, "ldm_state", lambda _sd_model: {})
    monkeypatch.setattr(ldm, "read_config", lambda _path: {})
    as_sdxl(webui, 768, 1280)
    for encoder in webui.sd_model.conditioner.embedders[:2]:
        encoder.wrapped.transformer.config = SimpleNamespace(to_dict=lambda: {"a": "config"})
    webui.sd_model.used_config, webui.sd_model.alphas_cumprod = "config.yaml", torch.ones(1)
    webui.shared.opts.CLIP_stop_at_last_layers, webui.shared.opts.sdxl_clip_l_skip = 3, setting
    with host.model():
        assert asked[0]["clip_skip"] == clip_skip
        assert asked[0]["text_config"] == {"a": "config"}


def _emptying(networks: Any) -> Any:
    def load_networks(names: list[str]) -> None:
        networks.loaded_networks = list(names)

    return load_networks


@contextmanager
def _detected() -> Iterator[Any]:
    from train_embedding.hosts.detect import detect

    detect.cache_clear()
    try:
        yield detect
    finally:
        detect.cache_clear()


def test_the_webui_is_detected_once(webui: WebUI) -> None:
    with _detected() as detect:
        assert type(detect()).__name__ == "A1111Host"
        assert detect() is detect()
