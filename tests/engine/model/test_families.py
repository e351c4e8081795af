"""Every family against the original implementations: the same prompts, predictions and pictures, from shared weights."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDPMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
)
from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tests import families
from tests.checkpoints import module_of
from tests.families import BASES, OPENCLIP_LAYERS, OPENCLIP_WIDTH, POOLED, SOME_SLOW, VARIANTS, Family
from train_embedding.engine import sampling
from train_embedding.engine.config.spec import TrainingSpec, resolve
from train_embedding.engine.data.image_folder import TrainingImage
from train_embedding.engine.data.latents import Batch, EncodedImage, LatentDataset
from train_embedding.engine.loading.assign import count_shared_parameters
from train_embedding.engine.loading.checkpoint import load_checkpoint
from train_embedding.engine.loading.shared_weights import ldm_state, model_from_host_weights
from train_embedding.engine.model.conditioning import Conditioning
from train_embedding.engine.model.diffusion_model import DiffusionModel, LatentMoments, empty_vector_tables
from train_embedding.engine.model.noise_schedule import noise_schedule
from train_embedding.engine.prompts.splicing import PromptBatch, VectorRows, batch_prompts, tokenize_pieces
from train_embedding.engine.prompts.tokenizer import FOLDER
from train_embedding.engine.training.evaluation import evaluation_losses, evaluation_set
from train_embedding.engine.training.loop import LoopHooks, batch_loss, train, unet_losses
from train_embedding.engine.training.state import new_state

PROMPTS = ("a big red star", "")
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
# torch's tensors and numpy 2, in diffusers' schedulers.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Equal within 1e-4 of the largest number."""
    return one.shape == other.shape and float((one - other).abs().max()) <= 1e-4 * float(other.abs().max())


def tokenizer(pad: str) -> Any:
    return CLIPTokenizer(str(FOLDER / "vocab.json"), str(FOLDER / "merges.txt"), pad_token=pad, model_max_length=77)


def transformers_openclip(source: Family, cls: type, layers: int = OPENCLIP_LAYERS) -> Any:
    """OpenCLIP's weights in a transformers module, converted by diffusers."""
    config = CLIPTextConfig(
        hidden_size=OPENCLIP_WIDTH, intermediate_size=4 * OPENCLIP_WIDTH, num_hidden_layers=layers, num_attention_heads=2,
        projection_dim=POOLED, hidden_act="gelu", bos_token_id=49406, eos_token_id=49407,
    )  # fmt: skip
    module = cls(config).eval().requires_grad_(False)
    state = source.openclip.state_dict()
    # diffusers takes the projection's first side for the width, which it is in the published models.
    converted = convert_open_clip_checkpoint(module, dict(state), prefix="")
    keys = module.state_dict()
    strip = "" if any(key.startswith("text_model.") for key in keys) else "text_model."
    weights = {key.removeprefix(strip): tensor for key, tensor in converted.items() if key.removeprefix(strip) in keys}
    missing, unexpected = module.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all(key.endswith("position_ids") for key in missing)  # transformers 4.30 counts them among the weights
    return module


def pipeline(source: Family) -> Any:
    """diffusers' own pipeline over the networks of a family."""
    prediction = "v_prediction" if source.is_v else "epsilon"
    scheduler = EulerDiscreteScheduler(**SCHEDULE, steps_offset=1, prediction_type=prediction)
    vae = deepcopy(source.vae)
    vae.register_to_config(scaling_factor=families.model(source.variant).latent_scale, force_upcast=False)
    parts: dict[str, Any] = {"vae": vae, "unet": source.unet, "scheduler": scheduler}
    if source.base == "SDXL":
        cls = StableDiffusionXLInpaintPipeline if source.is_inpainting else StableDiffusionXLPipeline
        second = transformers_openclip(source, CLIPTextModelWithProjection)
        parts |= {"text_encoder": source.clip, "tokenizer": tokenizer("<|endoftext|>"), "add_watermarker": False}
        made = cls(**parts, text_encoder_2=second, tokenizer_2=tokenizer("!"))
    else:
        cls = StableDiffusionInpaintPipeline if source.is_inpainting else StableDiffusionPipeline
        is_sd1 = source.base == "SD1"
        text = source.clip if is_sd1 else transformers_openclip(source, CLIPTextModel, OPENCLIP_LAYERS - 1)
        parts |= {"text_encoder": text, "tokenizer": tokenizer("<|endoftext|>" if is_sd1 else "!"), "safety_checker": None}
        made = cls(**parts, feature_extractor=None, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    return made


def prompts_of(texts: Sequence[str]) -> PromptBatch:
    return batch_prompts([tokenize_pieces([text]) for text in texts])


def encoded(model: DiffusionModel, texts: Sequence[str]) -> Conditioning:
    with torch.no_grad():
        return model.encode_prompts(prompts_of(texts), empty_vector_tables(model))


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("text", PROMPTS)
def test_prompts_are_encoded_as_by_diffusers(base: str, text: str) -> None:
    source = families.family(base)
    made = pipeline(source)
    ours = encoded(families.model(base), [text])
    with torch.no_grad():
        theirs = made.encode_prompt(text, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)
    assert close(ours.context, theirs[0])
    if base == "SDXL":
        assert close(ours.pooled, theirs[2])
    else:
        assert ours.pooled is None


@torch.no_grad()
@pytest.mark.parametrize("text", [*PROMPTS, "the " * 75])
def test_openclip_is_read_as_by_its_own_code(text: str) -> None:
    """As SD2 has it: the last layer but one, normalised; as SDXL has it: the same, raw, and what is pooled of the last."""
    tower = families.family("SD2").openclip
    ids = prompts_of([text]).ids[0]
    end = int((ids[0] == 49407).int().argmax())
    ids[0, end + 1 :] = 0
    penultimate = tower.hidden(ids)[-2]
    assert close(encoded(families.model("SD2"), [text]).context, tower.ln_final(penultimate))
    ours = encoded(families.model("SDXL"), [text])
    assert close(ours.context[..., -OPENCLIP_WIDTH:], penultimate)
    assert close(ours.pooled, tower.pooled(ids))


@torch.no_grad()
def test_what_is_pooled_is_the_first_chunk() -> None:
    model = families.model("SDXL")
    words = "the " * 75
    long, short = encoded(model, [words + "a star"]), encoded(model, [words])
    assert (long.context.shape[1], short.context.shape[1]) == (154, 77)
    assert close(long.pooled, short.pooled)


@torch.no_grad()
def test_the_end_is_found_behind_an_embedding() -> None:
    """Its place holder is no end of text, and its vectors reach what is pooled."""
    model = families.model("SDXL")
    vectors = model.token_embeddings("red star")
    packed = model.encode_prompts(batch_prompts([tokenize_pieces(["a big", VectorRows(0, 2)])]), vectors)
    plain = encoded(model, ["a big red star"])
    assert close(packed.context, plain.context)
    assert close(packed.pooled, plain.pooled)
    assert not close(packed.pooled, encoded(model, ["a big"]).pooled)


@torch.no_grad()
def test_clip_skip_of_sdxl_reads_the_layer_raw() -> None:
    source = families.family("SDXL")
    ours = encoded(source.model(clip_skip=3), ["a star"]).context[..., : families.CLIP_WIDTH]
    output = source.clip(prompts_of(["a star"]).ids[0], output_hidden_states=True)
    assert close(ours, output.hidden_states[-3])


@pytest.mark.parametrize("variant", VARIANTS)
def test_facts(variant: str) -> None:
    model, source = families.model(variant), families.family(variant)
    assert model.prediction_type == ("v_prediction" if source.is_v else "epsilon")
    assert model.inpainting == source.is_inpainting
    assert model.latent_scale == (0.13025 if source.base == "SDXL" else 0.18215)
    keys = {"SD1": ["clip_l"], "SD2": ["clip_h"], "SDXL": ["clip_l", "clip_g"]}[source.base]
    assert [encoder.key for encoder in model.text_encoders] == keys
    assert model.resolution == 64


@pytest.mark.parametrize("variant", SOME_SLOW)
def test_nothing_is_copied(variant: str) -> None:
    """From a state dict, and from a host's modules, which register SDXL's text encoders under two names."""
    source = families.family(variant)
    state = source.state()
    host = module_of(state, families.wrapped(source.base))
    if source.base == "SDXL":
        host.cond_stage_model = host.conditioner
    live = model_from_host_weights(
        ldm_state(host), source.params(), text_config=source.text_config, alphas_cumprod=noise_schedule(0.00085, 0.012, 1000)
    )
    for model in (source.model(), live):
        counts = [count_shared_parameters(module, state) for module in model.modules()]
        assert [shared for shared, _all in counts] == [total for _shared, total in counts]
        assert counts[0][1] == len(list(source.unet.parameters()))
        assert not any(tensor.is_meta for module in model.modules() for tensor in (*module.parameters(), *module.buffers()))


@torch.no_grad()
@pytest.mark.parametrize("variant", SOME_SLOW)
def test_predictions_are_those_of_the_unet(variant: str) -> None:
    source, model = families.family(variant), families.model(variant)
    prompt = encoded(model, PROMPTS)
    noisy, timesteps = torch.randn(2, 4, 8, 16, generator=torch.Generator().manual_seed(1)), torch.tensor([3, 900])
    inputs, added = noisy, None
    if source.is_inpainting:
        grey = source.vae.encode(torch.zeros(1, 3, 64, 128)).latent_dist.mean * model.latent_scale
        inputs = torch.cat([noisy, torch.ones(2, 1, 8, 16), grey.expand(2, -1, -1, -1)], 1)
    if source.base == "SDXL":
        sizes = torch.tensor([[64.0, 128.0, 5.0, 7.0, 64.0, 128.0]]).repeat(2, 1)  # height, width; top, left; height, width
        added = {"text_embeds": prompt.pooled, "time_ids": sizes}
        model = replace(model, crop=(5, 7))
    expected = source.unet(inputs, timesteps, encoder_hidden_states=prompt.context, added_cond_kwargs=added).sample
    assert close(model.predict(noisy, timesteps, prompt), expected)


@torch.no_grad()
def test_the_grey_picture_is_encoded_once_per_size(monkeypatch: pytest.MonkeyPatch) -> None:
    model = families.family("SD1 inpainting").model()
    prompt, timesteps = encoded(model, ["a star"]), torch.tensor([3])
    shapes: list[tuple[int, ...]] = []
    encode = DiffusionModel.encode_images
    monkeypatch.setattr(
        DiffusionModel, "encode_images", lambda self, images: shapes.append(tuple(images.shape)) or encode(self, images)
    )
    for height in (8, 16, 8, 8):
        model.predict(torch.zeros(1, 4, height, 8), timesteps, prompt)
    assert shapes == [(1, 3, 64, 64), (1, 3, 128, 64)]


@torch.no_grad()
@pytest.mark.parametrize("base", BASES)
def test_encoded_tokens_are_what_the_unet_reads(base: str) -> None:
    model = families.model(base)
    text = "a big red star"
    context = encoded(model, [text]).context[0]
    widths = list(model.widths.values())
    for count in (None, 2):
        kept = 4 if count is None or base == "SD2" else count
        states = torch.cat(list(model.encode_tokens(text, count).values()), -1)
        assert states.shape == (kept, sum(widths))
        assert states.dtype == torch.float32
        if kept == 4:
            assert close(states, context[1:5])
        else:  # a token sees the ones before it alone, so that cutting the text changes nothing of the first ones
            assert close(states, context[1:3])
    assert len(model.encode_tokens("the " * 200)[next(iter(model.widths))]) == 75


@pytest.mark.parametrize("key", ["clip_l", "clip_g"])
def test_the_pooled_output_is_followed_where_its_encoder_is_trained(key: str) -> None:
    model = families.model("SDXL")
    spec = TrainingSpec(embedding="sword", dataset="x", encoders=key)
    state = new_state(model.token_embeddings("red star"), resolve(spec, 64), torch.device("cpu"))
    conditioning = model.encode_prompts(batch_prompts([tokenize_pieces(["a ", VectorRows(0, 2)])]), state.vectors)
    assert conditioning.context.requires_grad
    assert conditioning.pooled is not None
    assert conditioning.pooled.requires_grad == (key == "clip_g")


def test_what_a_text_starts_with() -> None:
    """SD2's encoder gets the whole text, as in the WebUI; with SDXL a vector stands for the same word in both encoders."""
    sd2, sdxl = families.model("SD2"), families.model("SDXL")
    assert torch.equal(sd2.token_embeddings("a big red star", 2)["clip_h"], sd2.token_embeddings("a big red star")["clip_h"])
    for key, table in sdxl.token_embeddings("a big red star", 2).items():
        assert torch.equal(table, sdxl.token_embeddings("a big red star")[key][:2])


@pytest.mark.parametrize("variant", SOME_SLOW)
@pytest.mark.parametrize("negative_prompt", ["", "ugly"])
def test_pictures_are_those_of_diffusers(variant: str, negative_prompt: str) -> None:
    source, model = families.family(variant), families.model(variant)
    made = pipeline(source)
    noise = sampling._initial_noise([3], 64, 64)
    options: dict[str, Any] = {"latents": noise, "height": 64, "width": 64, "num_inference_steps": 4, "guidance_scale": 3.0}
    if source.is_inpainting:
        grey = model.encode_images(torch.zeros(1, 3, 64, 64)).mean
        blank = {"image": torch.zeros(1, 3, 64, 64), "mask_image": torch.ones(1, 1, 64, 64), "masked_image_latents": grey}
        options |= {**blank, "strength": 1.0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        theirs = made(["a red star"], negative_prompt=[negative_prompt] if negative_prompt else None, **options).images[0]
    latents = sampling.draw_latents(
        model, ["a red star"], [3], negative_prompt=negative_prompt, steps=4, guidance=3.0, width=64, height=64
    )
    (ours,) = sampling.decode_to_images(model, latents)
    difference = np.abs(np.asarray(ours, dtype=int) - np.asarray(theirs, dtype=int))
    assert int(difference.max()) <= 2
    assert np.asarray(ours).std() > 5, "a flat picture would agree with anything"


@pytest.mark.parametrize(
    ("variant", "encoders"),
    [
        pytest.param(variant, encoders, marks=[] if variant in ("SD1", "SD2 v") else pytest.mark.slow)
        for variant, encoders in (*((variant, "all") for variant in VARIANTS), ("SDXL", "clip_l"), ("SDXL", "clip_g"))
    ],
)
def test_a_run_learns(variant: str, encoders: str) -> None:
    """A few steps on two pictures lower the loss on them, of the same noise before and after; what is not trained stays."""
    model = families.model(variant)
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(4)) * 2 - 1
    moments = model.encode_images(pixels)
    pictures = [
        EncodedImage(
            TrainingImage(f"{number}.png", Path(f"{number}.png"), "", (64, 64), (64, 64)),
            LatentMoments(moments.mean[number], moments.std[number]),
        )
        for number in range(2)
    ]
    options: dict[str, Any] = {
        "steps": 16,
        "batch_size": 4,
        "learning_rate": "0.02",
        "timesteps": "uniform",
        "lr_cooldown_steps": 0,
    }
    spec = TrainingSpec(
        embedding="sword", dataset="x", template=("a [name]",), eval_every=0, ema_decay=0.0, encoders=encoders, **options
    )
    start = model.token_embeddings("red star")
    resolved = resolve(spec, 64)
    state = new_state(start, resolved, torch.device("cpu"))
    dataset = LatentDataset(pictures, resolved, 2)

    @torch.no_grad()
    def loss(tables: dict[str, torch.Tensor]) -> float:
        """Over all batches of the run, each with its own noise."""
        losses = [batch_loss(model, tables, dataset.batch(step), spec) for step in range(1, spec.steps + 1)]
        return float(torch.stack(losses).mean())

    before = loss(start)
    hooks = LoopHooks(lambda _vectors: torch.ones(1), lambda _event: None, lambda: False)
    train(model, state, dataset, resolved, hooks)
    assert loss(state.vectors) < before
    for key, table in state.vectors.items():
        assert torch.equal(table.detach(), start[key]) == (encoders not in ("all", key))


@pytest.mark.parametrize("base", BASES)
def test_the_gradient_of_every_encoder_leads_down(base: str) -> None:
    model = families.model(base)
    start = model.token_embeddings("red star")
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    items = evaluation_set(model, latents, ["a [name]"] * 2, "sword", 2, repeats=2, seed=0)
    tables = {key: table.clone().requires_grad_() for key, table in start.items()}
    prompts = model.encode_prompts(items.prompts, tables)
    batch = Batch(items.latents, items.prompts, torch.Generator())
    loss = unet_losses(model, prompts, batch, items.noise, items.timesteps).mean()
    for (key, table), gradient in zip(start.items(), torch.autograd.grad(loss, list(tables.values())), strict=True):
        lower = {**start, key: table - 0.02 * gradient / gradient.norm()}
        expected = float(loss.detach()) - 0.02 * float(gradient.norm())
        assert float(evaluation_losses(model, lower, items).mean()) == pytest.approx(expected, abs=0.004 * float(gradient.norm()))


def same_model(one: DiffusionModel, other: DiffusionModel) -> bool:
    prompts = [encoded(model, PROMPTS) for model in (one, other)]
    noisy, timesteps = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([3, 900])
    with torch.no_grad():
        predictions = [model.predict(noisy, timesteps, prompt) for model, prompt in zip((one, other), prompts, strict=True)]
    pooled = [prompt.pooled for prompt in prompts if prompt.pooled is not None]
    facts = [(model.prediction_type, model.latent_scale, model.inpainting, model.widths) for model in (one, other)]
    return facts[0] == facts[1] and close(prompts[0].context, prompts[1].context) and close(*predictions) and (
        not pooled or close(*pooled)
    )  # fmt: skip


@pytest.mark.parametrize("variant", SOME_SLOW)
def test_a_diffusers_folder(variant: str, tmp_path: Path) -> None:
    source = families.family(variant)
    source.unet.save_pretrained(tmp_path / "unet")
    source.vae.save_pretrained(tmp_path / "vae")
    if source.base == "SD2":
        transformers_openclip(source, CLIPTextModel, OPENCLIP_LAYERS - 1).save_pretrained(tmp_path / "text_encoder")
    else:
        source.clip.save_pretrained(tmp_path / "text_encoder")
    if source.base == "SDXL":
        transformers_openclip(source, CLIPTextModelWithProjection).save_pretrained(tmp_path / "text_encoder_2")
    prediction = "v_prediction" if source.is_v else "epsilon"
    DDPMScheduler(**SCHEDULE, prediction_type=prediction).save_pretrained(tmp_path / "scheduler")
    model = load_checkpoint(tmp_path)
    if source.base == "SD2":  # a folder tells the encoder by its width, which is not the true one here
        model = replace(model, text_encoders=(replace(model.text_encoders[0], key="clip_h"),))
    expected = replace(families.model(variant), latent_scale=source.vae.config.scaling_factor)
    assert same_model(model, replace(expected, latent_scale=model.latent_scale) if source.is_inpainting else expected)


@pytest.mark.parametrize("variant", SOME_SLOW)
def test_a_single_file_with_its_config(variant: str, tmp_path: Path) -> None:
    source = families.family(variant)
    file = write_file(source, tmp_path, source.params())
    model = load_checkpoint(file)
    assert same_model(model, families.model(variant))


@pytest.mark.parametrize("base", BASES)
def test_half_precision_spares_sdxls_vae(base: str, tmp_path: Path) -> None:
    source = families.family(base)
    model = load_checkpoint(write_file(source, tmp_path, source.params()), dtype=torch.float16)
    dtypes = [{parameter.dtype for parameter in module.parameters()} for module in model.modules()]
    vae = torch.float32 if base == "SDXL" else torch.float16
    assert dtypes == [{torch.float16}, {vae}] + [{torch.float16}] * len(model.text_encoders)


def test_another_config_and_another_vae(tmp_path: Path) -> None:
    """What the WebUI was given beside the checkpoint."""
    source = families.family("SD1")
    file = write_file(source, tmp_path, source.params())
    config = file.with_suffix(".yaml").rename(tmp_path / "elsewhere.yaml")
    key = "first_stage_model.quant_conv.bias"
    model = load_checkpoint(file, config=config, instead={key: torch.full_like(source.state()[key], 7.0)})
    assert model.vae.quant_conv.bias.unique().tolist() == [7.0]
    assert torch.equal(model.vae.quant_conv.weight, source.vae.quant_conv.weight)


def test_a_config_of_the_later_kind(tmp_path: Path) -> None:
    """As Stability's generative-models writes it, and the WebUI with it."""
    source = families.family("SDXL v")
    params = sgm_params(source)
    model = load_checkpoint(write_file(source, tmp_path, params))
    assert same_model(model, families.model("SDXL v"))
    assert model.resolution == 1024
    assert torch.equal(model.alphas_cumprod, families.model("SDXL v").alphas_cumprod)


def sgm_params(source: Family) -> dict[str, Any]:
    params = source.params()
    for name in ("linear_start", "linear_end", "timesteps", "image_size", "parameterization"):
        del params[name]
    params["network_config"] = params.pop("unet_config")
    scaling = "sgm.modules.diffusionmodules.denoiser_scaling.VScaling"
    params["denoiser_config"] = {"params": {"num_idx": 1000, "scaling_config": {"target": scaling}}}
    return params


def write_file(source: Family, folder: Path, params: dict[str, Any]) -> Path:
    """The checkpoint with its config beside it, and the CLIP config in a folder that it names."""
    import json

    import yaml

    save_file({key: tensor.contiguous() for key, tensor in source.state().items()}, folder / "a.safetensors")
    if source.clip is not None:
        (folder / "clip").mkdir()
        (folder / "clip" / "config.json").write_text(json.dumps(source.text_config))
        if source.base == "SD1":
            params["cond_stage_config"] = {"params": {"version": "clip"}}
        else:
            params["conditioner_config"]["params"]["emb_models"][0]["params"]["version"] = "clip"
    (folder / "a.yaml").write_text(yaml.safe_dump({"model": {"params": params}}))
    return folder / "a.safetensors"
