"""The cache of latents on the disk: what its keys depend on, damage, a full disk, and its bound."""

from __future__ import annotations

import copy
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from train_embedding.embeddings import storage
from train_embedding.engine.data.image_folder import ImageOptions, TrainingImage, scan_folder
from train_embedding.engine.data.latent_cache import LatentCache, vae_identity
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.errors import UnreadableFile

TENSORS = {"mean": torch.arange(8.0).reshape(2, 2, 2), "std": torch.ones(2, 2, 2).transpose(0, 1)}


@pytest.fixture
def cache(tmp_path: Path, tiny_model: DiffusionModel) -> LatentCache:
    return LatentCache(tmp_path / "latents", tiny_model)


@pytest.fixture
def picture(pictures: Path) -> TrainingImage:
    return scan_folder(pictures, ImageOptions(((64, 64),)))[0][0]


def files(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "latents").rglob("*") if path.is_file())


def test_what_is_saved_comes_back(cache: LatentCache, tmp_path: Path, tiny_model: DiffusionModel) -> None:
    assert cache.load("ab12") == {}
    cache.save("ab12", TENSORS)
    for one in (cache, LatentCache(tmp_path / "latents", tiny_model)):
        loaded = one.load("ab12")
        assert set(loaded) == set(TENSORS)
        assert all(torch.equal(loaded[name], tensor) for name, tensor in TENSORS.items())
    assert [path.relative_to(tmp_path).as_posix() for path in files(tmp_path)] == ["latents/ab/ab12.safetensors"]
    assert cache.problem == ""


def test_a_key_depends_on_the_picture_and_its_framing(cache: LatentCache, picture: TrainingImage) -> None:
    key = cache.key(picture)
    assert key == cache.key(picture)
    for other in (
        replace(picture, target=(64, 56)),
        replace(picture, target=(56, 64)),
        replace(picture, resize_mode="resize"),
        replace(picture, mask="alpha"),
    ):
        assert cache.key(other) != key
    assert cache.key(replace(picture, name="other", caption="other", repeats=3, stamp=(1, 1))) == key


def test_a_key_follows_the_bytes_and_not_the_name_or_the_time(cache: LatentCache, picture: TrainingImage) -> None:
    key = cache.key(picture)
    moved = picture.file.rename(picture.file.with_name("moved.png"))
    os.utime(moved, ns=(0, 0))
    assert cache.key(replace(picture, file=moved)) == key
    moved.write_bytes(moved.read_bytes() + b"x")
    assert cache.key(replace(picture, file=moved)) != key


def test_a_key_depends_on_the_mask_file(cache: LatentCache, picture: TrainingImage) -> None:
    masked = replace(picture, mask="file")
    mask = picture.file.with_name(f"{picture.file.stem}-masklabel.png")
    with pytest.raises(UnreadableFile, match="no longer there"):
        cache.key(masked)
    keys: list[str] = []
    for value in (0, 255):
        Image.new("L", (64, 64), value).save(mask)
        keys.append(cache.key(masked))
    assert len({*keys, cache.key(picture)}) == 3


def test_a_key_depends_on_what_encodes(
    cache: LatentCache, picture: TrainingImage, tmp_path: Path, tiny_model: DiffusionModel
) -> None:
    def key(model: DiffusionModel) -> str:
        return LatentCache(tmp_path, model).key(picture)

    vae = copy.deepcopy(tiny_model.vae)
    other = replace(tiny_model, vae=vae)
    assert key(other) == key(tiny_model)
    with torch.no_grad():
        next(vae.decoder.parameters()).add_(1.0)
    assert key(other) == key(tiny_model)  # what only decodes does not matter
    with torch.no_grad():
        next(vae.encoder.parameters()).view(-1)[0].add_(1e-6)
    assert key(other) != key(tiny_model)
    assert key(replace(tiny_model, latent_scale=tiny_model.latent_scale * 2)) != key(tiny_model)
    assert vae_identity(replace(tiny_model, vae=copy.deepcopy(tiny_model.vae).to(torch.bfloat16))) != vae_identity(tiny_model)


@pytest.mark.parametrize("damage", [b"", b"x", b"\xff" * 100, None, "cut", "nan"])
def test_a_damaged_entry_counts_as_none_and_is_written_anew(
    cache: LatentCache, tmp_path: Path, damage: bytes | str | None
) -> None:
    cache.save("ab12", TENSORS)
    (file,) = files(tmp_path)
    if damage == "nan":
        cache.save("ab12", {"mean": torch.full((2, 2), torch.nan)})
    else:
        whole = file.read_bytes()
        file.write_bytes(whole[:-5] if damage == "cut" else damage if isinstance(damage, bytes) else b"\x08" + whole[1:])
    assert cache.load("ab12") == {}
    cache.save("ab12", TENSORS)
    assert torch.equal(cache.load("ab12")["mean"], TENSORS["mean"])


def test_a_full_disk_is_a_sentence(cache: LatentCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[Path] = []

    def full(path: Path, _data: bytes) -> None:
        tries.append(path)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "_write_flushed", full)
    cache.save("ab12", TENSORS)
    cache.save("cd34", TENSORS)
    assert cache.problem == 'Latents are not cached to disk. "ab12.safetensors" could not be written: the disk is full.'
    assert len(tries) == 1
    assert (cache.load("ab12"), files(tmp_path)) == ({}, [])


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path, tiny_model: DiffusionModel) -> None:
    cache = LatentCache(tmp_path / "latents", tiny_model, limit=3 * 200)
    for number, key in enumerate(("aa", "bb", "cc", "dd")):
        cache.save(key, TENSORS)
        os.utime(tmp_path / "latents" / key / f"{key}.safetensors", ns=(number, number))
    assert len({path.stat().st_size for path in files(tmp_path)}) == 1
    assert 150 < files(tmp_path)[0].stat().st_size <= 200
    cache.load("aa")
    cache.trim()
    assert [path.stem for path in files(tmp_path)] == ["aa", "cc", "dd"]
    cache.trim()
    assert len(files(tmp_path)) == 3


def test_trimming_where_nothing_is(cache: LatentCache, tmp_path: Path) -> None:
    cache.trim()
    assert not (tmp_path / "latents").exists()
