"""Checkpoints from files and folders, offline: what loads, what is refused, and that nothing is executed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler
from safetensors.torch import load_file, save_file

from tests.checkpoints import Source
from train_embedding.engine.loading.checkpoint import load_checkpoint
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.sampling import decode_to_images, draw_latents
from train_embedding.errors import HostFailed, NotFound, UnreadableFile


def same_weights(one: DiffusionModel, other: DiffusionModel) -> bool:
    states = [[dict(module.named_parameters()) for module in model.modules()] for model in (one, other)]
    return all(
        set(mine) == set(theirs) and all(torch.equal(tensor, theirs[key]) for key, tensor in mine.items())
        for mine, theirs in zip(*states, strict=True)
    )


def facts(model: DiffusionModel) -> tuple[object, ...]:
    return (
        model.prediction_type,
        model.family,
        model.latent_scale,
        model.resolution,
        model.widths,
        model.text_encoders[0].layer,
        model.dtype,
    )


@pytest.fixture
def copied(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """The checkpoint with its config in a folder of this test's own."""
    shutil.copytree(tiny_checkpoint.parent, tmp_path / "copy")
    return tmp_path / "copy" / tiny_checkpoint.name


def test_a_single_file(tiny_checkpoint: Path, tiny_model: DiffusionModel) -> None:
    model = load_checkpoint(tiny_checkpoint)
    assert facts(model) == facts(tiny_model)
    assert same_weights(model, tiny_model)
    assert torch.equal(model.alphas_cumprod, tiny_model.alphas_cumprod)


def test_dtype_and_clip_skip(tiny_checkpoint: Path) -> None:
    model = load_checkpoint(tiny_checkpoint, dtype=torch.float16, clip_skip=2)
    assert {parameter.dtype for module in model.modules() for parameter in module.parameters()} == {torch.float16}
    assert model.alphas_cumprod.dtype == torch.float32
    assert model.text_encoders[0].layer == 2


@pytest.mark.parametrize("nested", [True, False])
def test_a_ckpt(copied: Path, tiny_model: DiffusionModel, nested: bool) -> None:
    state = load_file(copied)
    torch.save({"state_dict": state, "global_step": 5} if nested else state, copied.with_suffix(".ckpt"))
    assert same_weights(load_checkpoint(copied.with_suffix(".ckpt")), tiny_model)


class Payload:
    """What unpickles into a call."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.file,)


def test_a_pickle_with_code_is_refused_and_not_executed(copied: Path, tmp_path: Path) -> None:
    evil = copied.with_suffix(".ckpt")
    torch.save({"state_dict": load_file(copied), "x": Payload(tmp_path / "ran")}, evil)
    with pytest.raises(UnreadableFile, match=r'The checkpoint "demo\.ckpt" cannot be read'):
        load_checkpoint(evil)
    assert not (tmp_path / "ran").exists()
    torch.load(evil, weights_only=False)
    assert (tmp_path / "ran").exists()  # it would have run


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"garbage" * 99])
def test_damaged_files(copied: Path, suffix: str, damage: Callable[[bytes], bytes]) -> None:
    file = copied.with_suffix(suffix)
    if suffix == ".ckpt":
        torch.save(load_file(copied), file)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UnreadableFile, match="cannot be read") as caught:
        load_checkpoint(file)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "content", [{}, {5: torch.ones(2)}, [torch.ones(2)], {"state_dict": torch.ones(2)}, {"state_dict": {"a": 5}}]
)
def test_files_without_weights(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(UnreadableFile, match="contains no weights"):
        load_checkpoint(tmp_path / "a.ckpt")


def test_other_models(copied: Path, tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    with pytest.raises(HostFailed, match="not a Stable Diffusion 1, 2 or XL"):
        load_checkpoint(tmp_path / "a.safetensors")
    save_file({"a": torch.ones(2)}, copied)  # its config says otherwise
    with pytest.raises(HostFailed, match="contains no CLIP text encoder"):
        load_checkpoint(copied)


def test_a_bad_config_beside_it(copied: Path) -> None:
    copied.with_suffix(".yaml").write_text("model: 5")
    with pytest.raises(UnreadableFile, match=r'The model config "demo\.yaml" cannot be read'):
        load_checkpoint(copied)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="There is no checkpoint"):
        load_checkpoint(tmp_path / "none.safetensors")


@pytest.fixture(scope="module")
def diffusers_folder(tiny_source: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("diffusers")
    tiny_source.unet.save_pretrained(folder / "unet")
    tiny_source.vae.save_pretrained(folder / "vae")
    tiny_source.text_encoder.save_pretrained(folder / "text_encoder")
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)
    scheduler.save_pretrained(folder / "scheduler")
    return folder


def test_a_diffusers_folder_equals_the_single_file(diffusers_folder: Path, tiny_model: DiffusionModel) -> None:
    model = load_checkpoint(diffusers_folder)
    assert facts(model) == facts(tiny_model)
    assert same_weights(model, tiny_model)
    assert torch.allclose(model.alphas_cumprod, tiny_model.alphas_cumprod, atol=1e-6)
    latents = [draw_latents(one, ["a star"], [1], steps=2, width=64, height=64) for one in (model, tiny_model)]
    drawn = [decode_to_images(one, latent)[0].tobytes() for one, latent in zip((model, tiny_model), latents, strict=True)]
    assert max(abs(mine - theirs) for mine, theirs in zip(*drawn, strict=True)) <= 1


def test_a_diffusers_folder_in_fp16(diffusers_folder: Path) -> None:
    model = load_checkpoint(diffusers_folder, dtype=torch.float16)
    assert {parameter.dtype for module in model.modules() for parameter in module.parameters()} == {torch.float16}


@pytest.mark.parametrize("part", ["text_encoder", "unet", "vae"])
@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", None])
def test_a_folder_that_is_not_whole(diffusers_folder: Path, tmp_path: Path, part: str, content: bytes | None) -> None:
    """A pointer of git's, or half of a file."""
    folder = tmp_path / "copy"
    shutil.copytree(diffusers_folder, folder)
    (file,) = (file for file in (folder / part).iterdir() if file.suffix in (".safetensors", ".bin"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if content is None else content)
    with pytest.raises(UnreadableFile, match="is damaged, or not a diffusers model") as caught:
        load_checkpoint(folder)
    assert "\n" not in caught.value.message


def test_a_folder_with_zero_terminal_snr_draws(diffusers_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(diffusers_folder, tmp_path / "copy")
    options = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    DDPMScheduler.from_pretrained(diffusers_folder / "scheduler", **options).save_pretrained(tmp_path / "copy" / "scheduler")
    model = load_checkpoint(tmp_path / "copy")
    assert float(model.alphas_cumprod[-1]) == pytest.approx(4.9e-8, rel=0.01)
    assert torch.isfinite(draw_latents(model, ["a star"], [1], steps=2, width=64, height=64)).all()


def test_a_suffix_in_capitals(copied: Path) -> None:
    capitals = copied.with_suffix(".SAFETENSORS")
    copied.rename(capitals)
    assert load_checkpoint(capitals).family == "custom"


def test_folders_that_cannot_be_used(diffusers_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="is damaged, or not a diffusers model"):
        load_checkpoint(tmp_path)
    shutil.copytree(diffusers_folder, tmp_path / "copy")
    (tmp_path / "copy" / "text_encoder").rename(tmp_path / "copy" / "text_encoder_2")
    with pytest.raises(HostFailed, match="SDXL's refiner"):
        load_checkpoint(tmp_path / "copy")
