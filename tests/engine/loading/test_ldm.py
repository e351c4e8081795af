"""A model from weights under latent diffusion's key names: shared, complete, and the same networks as they came from."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests import families
from tests.checkpoints import CONFIG, Source, params
from train_embedding.demo.maker.unet import TEXT_CONFIG
from train_embedding.engine.loading import ldm
from train_embedding.engine.loading.assign import count_shared_parameters
from train_embedding.engine.loading.ldm import CONFIGS, _resolution, build_model, default_config, read_config
from train_embedding.engine.model.conditioning import Conditioning
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.errors import HostFailed, UnreadableFile

KEY = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"


def assembled(state: dict[str, torch.Tensor], config: dict[str, Any] | None = None) -> DiffusionModel:
    return build_model(state, config or params(), text_config=TEXT_CONFIG)


def test_every_parameter_lies_in_the_given_state(tiny_source: Source) -> None:
    state = tiny_source.ldm_state()
    model = assembled(state)
    counts = [count_shared_parameters(module, state) for module in model.modules()]
    assert [shared for shared, _all in counts] == [total for _shared, total in counts]
    sources = (tiny_source.unet, tiny_source.vae, tiny_source.text_encoder)
    assert [total for _shared, total in counts] == [len(list(source.parameters())) for source in sources]


def test_counting_notices_a_copy(tiny_source: Source) -> None:
    state = tiny_source.ldm_state()
    model = assembled(state)
    model.unet.conv_in.bias = torch.nn.Parameter(model.unet.conv_in.bias.clone())
    shared, total = count_shared_parameters(model.unet, state)
    assert shared == total - 1


def test_parameters_that_are_given_stay_the_callers(tiny_source: Source) -> None:
    state = {key: torch.nn.Parameter(tensor, tensor.is_floating_point()) for key, tensor in tiny_source.ldm_state().items()}
    model = assembled(dict(state))
    taken = {id(parameter) for module in model.modules() for parameter in module.parameters()}
    assert not taken & {id(parameter) for parameter in state.values()}
    assert all(parameter.requires_grad == parameter.is_floating_point() for parameter in state.values())


def test_nothing_is_left_on_the_meta_device(tiny_source: Source) -> None:
    for module in assembled(tiny_source.ldm_state()).modules():
        tensors = [*module.parameters(), *module.buffers()]
        assert {tensor.device.type for tensor in tensors} == {"cpu"}


@torch.no_grad()
def test_outputs_are_those_of_the_source(tiny_source: Source, tiny_model: DiffusionModel) -> None:
    ids = torch.randint(0, 49406, (2, 77))
    theirs = tiny_source.text_encoder(ids).last_hidden_state
    assert torch.equal(tiny_model.text_encoders[0].module(ids).last_hidden_state, theirs)
    latents, timesteps = torch.randn(2, 4, 8, 8), torch.tensor([3, 900])
    expected = tiny_source.unet(latents, timesteps, theirs, return_dict=False)[0]
    assert torch.equal(tiny_model.predict(latents, timesteps, Conditioning(theirs)), expected)
    images = torch.randn(2, 3, 64, 64)
    posterior = tiny_source.vae.encode(images).latent_dist
    assert torch.allclose(tiny_model.encode_images(images).mean / tiny_model.latent_scale, posterior.mean, atol=1e-6)
    scaled = posterior.mean * tiny_model.latent_scale
    assert torch.allclose(tiny_model.decode_latents(scaled), tiny_source.vae.decode(posterior.mean).sample, atol=1e-5)


@torch.no_grad()
def test_the_source_is_sensitive_to_every_weight(tiny_source: Source) -> None:
    """What the equality above is worth: no branch of the random networks is switched off."""
    for module in (tiny_source.unet, tiny_source.vae, tiny_source.text_encoder):
        assert [name for name, parameter in module.named_parameters() if not parameter.any()] == []


def test_facts_from_the_config(tiny_model: DiffusionModel) -> None:
    assert tiny_model.prediction_type == "epsilon"
    assert tiny_model.latent_scale == 0.18215
    assert tiny_model.resolution == 64
    assert tiny_model.widths == {"clip_l": 64}
    assert tiny_model.family == "custom"
    assert float(tiny_model.alphas_cumprod[-1]) == pytest.approx(0.0046602, abs=1e-6)


def test_v_prediction_from_the_config(tiny_source: Source) -> None:
    assert assembled(tiny_source.ldm_state(), {**params(), "parameterization": "v"}).prediction_type == "v_prediction"


def test_a_schedule_that_is_given(tiny_source: Source) -> None:
    given = torch.linspace(0.99, 0.01, 10, dtype=torch.float64)
    model = build_model(tiny_source.ldm_state(), params(), text_config=TEXT_CONFIG, alphas_cumprod=given)
    assert torch.equal(model.alphas_cumprod, given.float())


def test_positions_are_looked_over(tiny_source: Source) -> None:
    """They were part of the weights up to transformers 4.30; some merging tools store them as floats, and rounded."""
    state = tiny_source.ldm_state()
    state["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.zeros(1, 77, dtype=torch.float16)
    encoder = assembled(state).text_encoders[0].module
    ids = torch.randint(0, 49406, (1, 77))
    with torch.no_grad():
        assert torch.equal(encoder(ids).last_hidden_state, tiny_source.text_encoder(ids).last_hidden_state)


def test_keys_of_early_checkpoints(tiny_source: Source) -> None:
    state = {key.replace(".text_model.", "."): tensor for key, tensor in tiny_source.ldm_state().items()}
    assert any(key.startswith("cond_stage_model.transformer.embeddings.") for key in state)
    assert count_shared_parameters(assembled(state).text_encoders[0].module, state)[0] > 0


def changed(**values: Any) -> dict[str, Any]:
    config = deepcopy(params())
    config["unet_config"]["params"].update(values)
    return config


@pytest.mark.parametrize(
    "config",
    [
        changed(model_channels=64),
        changed(num_res_blocks=2),
        changed(channel_mult=[1, 1, 1]),
        changed(context_dim=768),
        changed(num_heads="x"),
        {key: value for key, value in params().items() if key != "unet_config"},
        {key: value for key, value in params().items() if key != "first_stage_config"},
        {key: value for key, value in params().items() if key != "scale_factor"},
        {key: value for key, value in params().items() if key != "linear_start"},
        {**params(), "linear_start": "x"},
        {},
    ],
)
def test_a_config_of_another_model(tiny_source: Source, config: dict[str, Any]) -> None:
    with pytest.raises(HostFailed, match="The checkpoint's weights do not fit its config"):
        build_model(tiny_source.ldm_state(), config, text_config=TEXT_CONFIG)


def test_weights_that_are_missing_or_too_many(tiny_source: Source) -> None:
    state = tiny_source.ldm_state()
    del state["model.diffusion_model.out.2.bias"]
    with pytest.raises(HostFailed, match="do not fit its config"):
        assembled(state)
    state = tiny_source.ldm_state()
    del state["cond_stage_model.transformer.text_model.final_layer_norm.bias"]
    with pytest.raises(HostFailed, match="1 missing and 0 unknown in CLIPTextModel"):
        assembled(state)


def test_no_clip_text_encoder(tiny_source: Source) -> None:
    state = {key: tensor for key, tensor in tiny_source.ldm_state().items() if not key.startswith("cond_stage_model.")}
    with pytest.raises(HostFailed, match="contains no CLIP text encoder"):
        assembled(state)


@pytest.mark.parametrize("channels", [5, 8])
def test_depth_and_editing_models_are_refused(tiny_source: Source, channels: int) -> None:
    with pytest.raises(HostFailed, match=f"UNet has {channels} input channels"):
        build_model(tiny_source.ldm_state(), changed(in_channels=channels), text_config=TEXT_CONFIG)


def test_an_unclip_model_is_refused(tiny_source: Source) -> None:
    state = {**tiny_source.ldm_state(), "model.diffusion_model.label_emb.0.0.weight": torch.ones(4, 4)}
    with pytest.raises(HostFailed, match="unCLIP"):
        assembled(state)


def test_the_refiner_is_refused(tiny_source: Source) -> None:
    state = {**tiny_source.ldm_state(), "conditioner.embedders.0.model.ln_final.weight": torch.ones(4)}
    with pytest.raises(HostFailed, match="refiner"):
        assembled(state)


@pytest.mark.parametrize("width", [512, 1280, 0])
def test_weights_of_no_known_family(width: int) -> None:
    state = {KEY: torch.empty(640, width, device="meta")} if width else {}
    with pytest.raises(HostFailed, match="is not a Stable Diffusion 1, 2 or XL model"):
        default_config(state)


@pytest.mark.parametrize(("width", "name"), [(768, "sd1"), (1024, "sd2"), (2048, "sdxl")])
@pytest.mark.parametrize("channels", [4, 9])
def test_families_by_their_weights(width: int, name: str, channels: int) -> None:
    first = "model.diffusion_model.input_blocks.0.0.weight"
    state = {KEY: torch.empty(640, width, device="meta"), first: torch.empty(320, channels, 3, 3, device="meta")}
    expected = read_config(CONFIGS / f"{name}.yaml")
    expected["unet_config"]["params"]["in_channels"] = channels
    assert default_config(state) == expected


@pytest.mark.parametrize(("base", "size"), [("SD1", 859_520_964), ("SD2", 865_910_724), ("SDXL", 2_567_463_684)])
@pytest.mark.parametrize("in_channels", [4, 9])
def test_files_of_the_published_size_need_no_config(
    base: str, size: int, in_channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ldm, "_predicts_v", lambda _unet: False)
    state = families.true_size_state(base, in_channels)
    model = build_model(state, default_config(state))
    assert model.family == base
    assert model.inpainting == (in_channels == 9)
    assert model.resolution == (1024 if base == "SDXL" else 512)
    assert sum(parameter.numel() for parameter in model.unet.parameters()) == size + (in_channels - 4) * 320 * 9
    assert [encoder.module.config.num_attention_heads * 64 for encoder in model.text_encoders] == [*model.widths.values()]
    assert [encoder.layer for encoder in model.text_encoders] == {"SD1": [1], "SD2": [2], "SDXL": [2, 2]}[base]


def test_the_text_encoder_folder_is_found_beside_the_config(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(CONFIG.read_text())
    assert read_config(file)["cond_stage_config"]["params"]["version"] == "clip"
    (tmp_path / "clip").mkdir()
    assert read_config(file)["cond_stage_config"]["params"]["version"] == str(tmp_path / "clip")


@pytest.mark.parametrize(
    "text", ["", "- 1", "model: 5", "model: {params: [1]}", "a: [", "\x00", "model: {params: {cond_stage_config: 5}}"]
)
def test_configs_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UnreadableFile, match=r'The model config "a\.yaml" cannot be read'):
        read_config(tmp_path / "a.yaml")


def test_configs_run_no_code(tmp_path: Path) -> None:
    evil = f"model: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [{tmp_path / 'ran'}]]"
    (tmp_path / "a.yaml").write_text(evil)
    with pytest.raises(UnreadableFile):
        read_config(tmp_path / "a.yaml")
    assert not (tmp_path / "ran").exists()


def test_a_text_encoder_config_that_is_none(tmp_path: Path, tiny_source: Source) -> None:
    (tmp_path / "a.yaml").write_text(CONFIG.read_text())
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "config.json").write_text("{")
    with pytest.raises(UnreadableFile, match="text encoder config"):
        build_model(tiny_source.ldm_state(), read_config(tmp_path / "a.yaml"))
    (tmp_path / "clip" / "config.json").write_text(json.dumps({**TEXT_CONFIG, "hidden_size": 32}))
    with pytest.raises(HostFailed, match="do not fit its config"):
        build_model(tiny_source.ldm_state(), read_config(tmp_path / "a.yaml"))


def test_the_sd1_config_is_whole() -> None:
    config = yaml.safe_load((CONFIGS / "sd1.yaml").read_text())["model"]["params"]
    assert config["unet_config"]["params"]["context_dim"] == 768
    assert config["unet_config"]["params"]["in_channels"] == 4


@pytest.mark.parametrize(("level", "prediction_type"), [(-2.0, "v_prediction"), (0.5, "epsilon")])
def test_sd2s_weights_are_asked_what_they_predict(level: float, prediction_type: str) -> None:
    """Without a config nobody else knows. The UNet here answers one number to everything."""
    source = families.family("SD2")
    state = {key: tensor.clone() if ".out.2." in key else tensor for key, tensor in source.state().items()}
    state["model.diffusion_model.out.2.weight"].zero_()
    state["model.diffusion_model.out.2.bias"].fill_(level)
    config = source.params() | {"parameterization": "unknown"}
    assert build_model(state, config).prediction_type == prediction_type


def test_sdxl_files_that_say_what_they_predict() -> None:
    source = families.family("SDXL")
    state = {**source.state(), "v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}
    model = build_model(state, source.params(), text_config=TEXT_CONFIG)
    assert model.prediction_type == "v_prediction"
    assert float(model.alphas_cumprod[-1]) < 1e-7


def test_a_noise_schedule_that_training_does_not_know() -> None:
    source = families.family("SDXL")
    config = source.params() | {"denoiser_config": {"params": {"scaling_config": {"target": "sgm.denoiser_scaling.EDMScaling"}}}}
    with pytest.raises(HostFailed, match="EDMScaling"):
        build_model(source.state(), config, text_config=TEXT_CONFIG)


@pytest.mark.parametrize(("size", "width", "parameterization", "resolution"), [
    (64, 1024, "v", 768), (64, 1024, "eps", 512), (64, 768, "v", 512), (8, 1024, "v", 64), (None, 2048, "eps", 1024),
])  # fmt: skip
def test_resolutions(size: int | None, width: int, parameterization: str, resolution: int) -> None:
    config = {"unet_config": {"params": {"context_dim": width}}, **({} if size is None else {"image_size": size})}
    assert _resolution(config, "v_prediction" if parameterization == "v" else "epsilon") == resolution
