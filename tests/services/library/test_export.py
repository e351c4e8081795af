"""Embeddings as files for elsewhere: the suffix decides about the format, and each program gets what it can load and call."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import encode, read_bytes, read_embedding, write_embedding
from train_embedding.embeddings.programs import PROGRAMS
from train_embedding.errors import InvalidInput, InvalidName
from train_embedding.services.formats import SUFFIXES
from train_embedding.services.library.export import Wanted
from train_embedding.services.library.library import Library
from train_embedding.testing import FakeHost

VECTORS = torch.arange(2 * 768, dtype=torch.float32).reshape(2, 768) / 1000
PAIR = {"clip_l": VECTORS, "clip_g": torch.ones(2, 1280)}
EVERY_SUFFIX = sorted({suffix for suffixes in SUFFIXES.values() for suffix in suffixes} - {".jxl"})


def put(host: FakeHost, name: str, suffix: str = ".safetensors", vectors: dict[str, torch.Tensor] | None = None) -> Path:
    file = host.info().embeddings_folder / f"{name}{suffix}"
    write_embedding(Embedding(name, vectors or {"clip_l": VECTORS}), file)
    return file


@pytest.mark.parametrize("own", [".pt", ".safetensors", ".png"])
@pytest.mark.parametrize("suffix", [*EVERY_SUFFIX, ".PT"])
def test_what_is_written_belongs_into_the_suffix(
    fake_host: FakeHost, library: Library, tmp_path: Path, own: str, suffix: str
) -> None:
    file = put(fake_host, "cat", own)
    done = library.export_to(tmp_path / f"out{suffix}", "cat", Wanted())
    assert done.path == tmp_path / f"out{suffix}"
    assert torch.equal(read_embedding(done.path).vectors["clip_l"], VECTORS)
    if suffix in (".png", ".webp"):
        assert read_embedding(done.path).metadata.get("name") is None, "the WebUI goes by the name inside"
    if suffix == own != ".png":
        assert done.path.read_bytes() == file.read_bytes()


def files_of_people(folder: Path) -> list[Path]:
    """Return all files without the library's index, which is written once a file has not changed for a while."""
    return sorted(path for path in folder.rglob("*") if "library" not in path.relative_to(folder).parts)


@pytest.mark.parametrize(
    ("target", "wanted", "sentence"),
    [
        ("out.txt", Wanted(), "neither a folder nor the name of an embedding file"),
        ("out", Wanted(), "neither a folder nor the name of an embedding file"),
        ("out.txt", Wanted("webui"), "neither a folder nor the name of an embedding file"),
        ("out.png", Wanted("webui"), 'The format "webui" has no ".png" files'),
        ("out.pt", Wanted("safetensors"), 'The format "safetensors" has no ".pt" files'),
        ("out.pt", Wanted("webui", ".bin"), 'does not end with ".bin"'),
        ("out.pt", Wanted("", ".safetensors"), 'does not end with ".safetensors"'),
        ("out.pt", Wanted(program="comfyui"), "Exports for ComfyUI are always .safetensors files"),
        (".", Wanted("webui", program="comfyui"), "Exports for ComfyUI are always .safetensors files"),
        (".", Wanted(program="paint"), 'Unknown program "paint"'),
        ("out.safetensors", Wanted("onnx"), 'Unknown format "onnx"'),
    ],
)
def test_what_contradicts_the_suffix_is_refused(
    fake_host: FakeHost, library: Library, tmp_path: Path, target: str, wanted: Wanted, sentence: str
) -> None:
    put(fake_host, "cat")
    before = files_of_people(tmp_path)
    with pytest.raises(InvalidInput, match=sentence):
        library.export_to(tmp_path / target, "cat", wanted)
    assert files_of_people(tmp_path) == before


def test_a_bad_name_of_a_file_is_refused(fake_host: FakeHost, library: Library, tmp_path: Path) -> None:
    put(fake_host, "cat")
    with pytest.raises(InvalidName):
        library.export_to(tmp_path / "a(b.pt", "cat", Wanted())


FORMATS = {"onetrainer": "onetrainer", "diffusers": "diffusers"}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("vectors", [{"clip_l": VECTORS}, {"clip_h": torch.ones(1, 1024)}, PAIR], ids=["SD1", "SD2", "SDXL"])
def test_every_program_gets_a_format_that_it_loads(
    fake_host: FakeHost, library: Library, program: str, vectors: dict[str, torch.Tensor]
) -> None:
    """The table in docs/formats.md, which comes from the programs' own loaders."""
    put(fake_host, "my-cat", ".pt", vectors)
    made = library.export("my-cat", program=program)
    assert made.file_name == "my-cat.safetensors"
    expected = "sdxl" if len(vectors) > 1 else FORMATS.get(program, "kohya")
    assert read_bytes(made.data, made.file_name).format == expected


@pytest.mark.parametrize(
    ("program", "name", "file", "trigger"),
    [
        ("webui", "My Cat 猫", "My Cat 猫.safetensors", "My Cat 猫"),
        ("sdnext", "My Cat", "My Cat.safetensors", "My Cat"),
        ("sdnext", "sword", "my-sword.safetensors", "my-sword"),
        ("comfyui", "my-cat", "my-cat.safetensors", "embedding:my-cat"),
        ("comfyui", "My Cat 猫", "My_Cat_猫.safetensors", "embedding:My_Cat_猫"),
        ("invokeai", "My Cat", "My Cat.safetensors", "<My Cat>"),
        ("invokeai", "Café & Bar's", "cafe_bar_s.safetensors", "<cafe_bar_s>"),
        ("diffusers", "My-Cat", "my-cat.safetensors", "my-cat"),
        ("diffusers", "Sword", "my-sword.safetensors", "my-sword"),
        ("diffusers", "猫2", "猫2.safetensors", "猫2"),
        ("onetrainer", "My Cat", "My Cat.safetensors", "<embedding>"),
    ],
)
def test_the_trigger_in_a_program(
    fake_host: FakeHost, library: Library, program: str, name: str, file: str, trigger: str
) -> None:
    put(fake_host, name)
    made = library.export(name, program=program)
    assert (made.file_name, made.trigger) == (file, trigger)
    assert file in made.usage


def test_a_name_that_a_program_cannot_call(fake_host: FakeHost, library: Library, tmp_path: Path) -> None:
    put(fake_host, "猫2")
    with pytest.raises(InvalidInput, match=r'"猫2" does not work as a trigger word in InvokeAI\. Choose another file name'):
        library.export("猫2", program="invokeai")
    done = library.export_to(tmp_path / "neko.safetensors", "猫2", Wanted(program="invokeai"))
    assert (done.path.name, done.trigger) == ("neko.safetensors", "<neko>")
    with pytest.raises(InvalidInput, match=r'"a cat" does not work .* Choose another file name, such as a_cat\.safetensors'):
        library.export_to(tmp_path / "a cat.safetensors", "猫2", Wanted(program="comfyui"))


def test_a_picture_is_called_as_its_file(fake_host: FakeHost, library: Library, tmp_path: Path) -> None:
    file = fake_host.info().embeddings_folder / "cat.png"
    file.write_bytes(encode(Embedding("cat", {"clip_l": VECTORS}), "png", ".png"))
    done = library.export_to(tmp_path / "dog.png", "cat", Wanted())
    assert read_embedding(done.path).metadata.get("name") is None
    assert library.export_to(tmp_path, "cat", Wanted()).path.read_bytes() == file.read_bytes()
