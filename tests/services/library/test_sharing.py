"""Sharing an embedding: what a page on Civitai needs in one archive, and a card that is a picture and an embedding."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.run_folders import stored_preview, stored_run
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import read_bytes, write_embedding
from train_embedding.errors import Conflict, InvalidInput
from train_embedding.images.png import strip_png
from train_embedding.services.library.export import Wanted
from train_embedding.services.library.library import Library
from train_embedding.testing import FakeHost

VECTORS = torch.randn(2, 768, generator=torch.Generator().manual_seed(1)) * 0.02
PAIR = {"clip_l": VECTORS, "clip_g": torch.ones(2, 1280)}


def put(host: FakeHost, vectors: dict[str, torch.Tensor] | None = None) -> Path:
    file = host.info().embeddings_folder / "my-cat.safetensors"
    write_embedding(Embedding("my-cat", vectors or {"clip_l": VECTORS}, 40, "v1-5", "cc6cb27103"), file)
    return file


def png(colour: str = "teal") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(data, "PNG")
    return data.getvalue()


def archive_of(library: Library, **more: Any) -> dict[str, bytes]:
    made = library.export("my-cat", program="civitai", **more)
    assert made.file_name == "my-cat-civitai.zip"
    with zipfile.ZipFile(io.BytesIO(made.data)) as archive:
        assert archive.testzip() is None
        assert all(name.startswith("my-cat/") for name in archive.namelist())
        return {name.removeprefix("my-cat/"): archive.read(name) for name in archive.namelist()}


def trained(host: FakeHost, **values: Any) -> None:
    """A run that trained the embedding on three images and kept step 40 of 60, with two previews at each."""
    spec = {"preview_prompt": "a photo of [name]\n[name] in the snow", "preview_negative_prompt": "blurry", "seed": 5}
    state = stored_run(
        host, spec=spec, files=(host.info().embeddings_folder / "my-cat.safetensors",), checkpoint="v1-5", best_step=40, **values
    )
    for step, colour in ((0, "red"), (40, "green"), (60, "blue")):
        file = stored_preview(state, step, colour)
        second = file.with_name(f"{step:07d}-2.png")
        Image.new("RGB", (64, 96), colour).save(second)
        state = replace(state, previews=(*state.previews, file, second))
    state.save()
    used = [{"file": f"{n}.png", "trained_at": [512, 768 if n else 512], "caption": f"{n}", "mask": None} for n in range(3)]
    (state.folder / "images.json").write_text(json.dumps({"used": used, "sizes": [], "skipped": [], "folder": "/secret/place"}))


def test_the_archive_has_both_files_and_a_card_with_the_same_vectors(fake_host: FakeHost, library: Library) -> None:
    put(fake_host)
    files = archive_of(library)
    for name in ("my-cat.safetensors", "my-cat.pt", "my-cat.card.png"):
        read = read_bytes(files[name], name)
        assert torch.equal(read.vectors["clip_l"], VECTORS)
        assert (read.step, read.checkpoint_name) == (40, "v1-5")


def test_previews_of_the_kept_step_say_how_they_were_drawn(fake_host: FakeHost, library: Library) -> None:
    put(fake_host)
    trained(fake_host)
    files = archive_of(library)
    previews = sorted(name for name in files if name.startswith("previews/"))
    assert previews == ["previews/01.png", "previews/02.png"]
    with Image.open(io.BytesIO(files["previews/02.png"])) as image:
        assert image.getpixel((0, 0)) == (0, 128, 0)
        assert image.info["parameters"] == (
            "my-cat in the snow\nNegative prompt: blurry\n"
            "Steps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x96, Model hash: cc6cb27103, Model: v1-5"
        )
    assert json.loads(files["civitai.json"])["images"][1]["infotext"] == image.info["parameters"]


def test_previews_are_those_of_the_step_that_was_chosen(fake_host: FakeHost, library: Library) -> None:
    put(fake_host)
    trained(fake_host, saved_step=60)
    with Image.open(io.BytesIO(archive_of(library)["previews/01.png"])) as image:
        assert image.getpixel((0, 0)) == (0, 0, 255)


def test_the_preview_of_the_embedding_comes_first_and_once(fake_host: FakeHost, library: Library) -> None:
    put(fake_host)
    trained(fake_host)
    library.set_preview("my-cat", png())
    assert [name for name in archive_of(library) if "previews/" in name] == [f"previews/0{n}.png" for n in range(3)]
    library.set_preview("my-cat", (fake_host.info().runs_folder / "20261101-100000-000/previews/0000040.png").read_bytes())
    assert [name for name in archive_of(library) if "previews/" in name] == ["previews/01.png", "previews/02.png"]


def test_the_texts_say_what_a_page_needs_and_nothing_about_this_computer(fake_host: FakeHost, library: Library) -> None:
    put(fake_host)
    trained(fake_host)
    library.set_notes("my-cat", {"description": "A grey cat.", "activation_text": "a photo of my-cat", "preferred_weight": 0.8})
    files = archive_of(library, license="CC BY 4.0")
    record = json.loads(files["civitai.json"])
    assert {key: record[key] for key in ("name", "type", "baseModel", "trainedWords", "license", "vectors", "steps")} == {
        "name": "my-cat", "type": "TextualInversion", "baseModel": "SD 1.5", "trainedWords": ["my-cat"], "license": "CC BY 4.0",
        "vectors": 2, "steps": 40,
    }  # fmt: skip
    assert record["trainingData"] == (
        "Trained on 3 images (1 at 512 × 512 pixels, 2 at 512 × 768 pixels), 3 different captions. 40 steps with batch size 2, "
        "80 samples in all; preset Fast, optimizer direction, learning rate 0.12 (linear), seed 5."
    )
    readme = files["README.md"].decode()
    for part in ("# my-cat\n\nA grey cat.", "`my-cat`", "SD 1.5", "v1-5 [cc6cb27103]", "(my-cat:0.8)", record["trainingData"]):
        assert part in readme
    assert "## License\n\nCC BY 4.0" in readme
    everything = b"".join(files[name] for name in ("civitai.json", "README.md")).decode()
    assert "/secret" not in everything
    assert "/images/cat" not in everything
    assert str(fake_host.info().embeddings_folder) not in everything


def test_what_is_not_known_is_a_line_to_fill_in(fake_host: FakeHost, library: Library) -> None:
    put(fake_host)
    readme = archive_of(library)["README.md"].decode()
    assert "(Describe what the embedding does.)" in readme
    assert "## Training data\n\n40 steps.\n\n(Add what the images show" in readme
    assert "## License\n\n(Choose one" in readme


def test_a_packed_prompt_is_said_to_be_one(fake_host: FakeHost, library: Library) -> None:
    file = put(fake_host)
    stored_run(fake_host, spec={"dataset": "", "teacher_prompt": "ugly, blurry"}, files=(file,))
    record = json.loads(archive_of(library)["civitai.json"])
    assert record["trainingData"].startswith(
        "Trained without images: it packs the prompt “ugly, blurry”. 40 steps with batch size 2;"
    )
    assert record["captions"] == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"used": 7}', '{"used": [1]}', '{"used": [{"trained_at": [1], "caption": 1}]}'])
def test_a_damaged_report_of_the_run_does_not_matter(fake_host: FakeHost, library: Library, text: str) -> None:
    put(fake_host)
    trained(fake_host)
    (fake_host.info().runs_folder / "20261101-100000-000/images.json").write_text(text)
    assert "images that the run no longer lists" in archive_of(library)["README.md"].decode()


def test_previews_that_are_gone_or_broken_are_left_out(fake_host: FakeHost, library: Library) -> None:
    put(fake_host)
    trained(fake_host)
    folder = fake_host.info().runs_folder / "20261101-100000-000/previews"
    (folder / "0000040.png").unlink()
    assert [name for name in archive_of(library) if "previews/" in name] == ["previews/02.png"]


def test_an_embedding_for_sdxl_gets_a_card_that_only_shows_it(fake_host: FakeHost, library: Library) -> None:
    put(fake_host, PAIR)
    files = archive_of(library)
    for name in ("my-cat.safetensors", "my-cat.pt"):
        assert {key: value.tolist() for key, value in read_bytes(files[name], name).vectors.items()} == {
            key: value.tolist() for key, value in PAIR.items()
        }
    with Image.open(io.BytesIO(files["my-cat.card.png"])) as card:
        assert "sd-ti-embedding" not in card.info
    assert "my-cat.card.png` contains" not in files["README.md"].decode()
    with pytest.raises(InvalidInput, match='"my-cat" is for SDXL, and the WebUI cannot read such embeddings from images'):
        library.export("my-cat", program="card")


def test_the_card_shows_the_preview(fake_host: FakeHost, library: Library) -> None:
    put(fake_host)
    library.set_preview("my-cat", png("teal"))
    made = library.export("my-cat", program="card")
    assert (made.file_name, made.trigger) == ("my-cat.png", "my-cat")
    assert "many websites convert images" in made.usage
    with Image.open(io.BytesIO(made.data)) as card:
        middle = card.convert("RGB").getpixel((256, 256))
        assert isinstance(middle, tuple)
        assert all(abs(one - other) < 25 for one, other in zip(middle, (20, 138, 138), strict=True))


def test_without_a_preview_the_card_shows_that_of_the_kept_step(fake_host: FakeHost, library: Library) -> None:
    put(fake_host)
    trained(fake_host)
    with Image.open(io.BytesIO(library.export("my-cat", program="card").data)) as card:
        red, green, blue = card.convert("RGB").getpixel((256, 256))  # pyright: ignore[reportGeneralTypeIssues]
    assert green > red + 80
    assert green > blue + 80


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_a_renamed_card_keeps_its_picture_and_has_the_new_name_everywhere(
    fake_host: FakeHost, library: Library, suffix: str
) -> None:
    put(fake_host)
    library.set_preview("my-cat", png("teal"))
    card = library.export("my-cat", program="card").data
    if suffix == ".webp":  # as a website that converts images without loss
        converted = io.BytesIO()
        Image.open(io.BytesIO(card)).save(converted, "WEBP", lossless=True)
        card = converted.getvalue()
    library.delete("my-cat")
    file = fake_host.info().embeddings_folder / f"my-cat{suffix}"
    file.write_bytes(card)
    library.rename("my-cat", "your-cat")
    renamed = file.with_name(f"your-cat{suffix}").read_bytes()
    for held in (renamed, strip_png(renamed)) if suffix == ".png" else (renamed,):
        read = read_bytes(held, f"your-cat{suffix}")
        assert read.metadata.get("name") is None, "the name inside is that of the file"
        assert torch.equal(read.vectors["clip_l"], VECTORS)
    with Image.open(io.BytesIO(card)) as before, Image.open(io.BytesIO(renamed)) as after:
        middle = (200, 0, 300, 512)
        assert before.convert("RGB").crop(middle).tobytes() == after.convert("RGB").crop(middle).tobytes()


def test_it_is_written_where_it_is_wanted(fake_host: FakeHost, library: Library, tmp_path: Path) -> None:
    put(fake_host)
    assert library.export_to(tmp_path, "my-cat", Wanted(program="civitai")).path == tmp_path / "my-cat-civitai.zip"
    assert library.export_to(tmp_path / "page.zip", "my-cat", Wanted(program="civitai")).path.name == "page.zip"
    done = library.export_to(tmp_path / "post.PNG", "my-cat", Wanted(program="card"))
    assert read_bytes(done.path.read_bytes(), "post.PNG").metadata["name"] == "my-cat", "the trigger word stays the same"
    with pytest.raises(Conflict, match="already exists"):
        library.export_to(tmp_path, "my-cat", Wanted(program="civitai"))


@pytest.mark.parametrize(
    ("target", "wanted", "sentence"),
    [
        ("page.pt", Wanted(program="civitai"), "nor the name of such a file"),
        ("post.jpg", Wanted(program="card"), "nor the name of such a file"),
        (".", Wanted("webui", program="card"), r"The share card is always a \.png file"),
        (".", Wanted(program="civitai", license="x" * 1001), "The license has 1001 characters; at most 1000"),
    ],
)
def test_what_cannot_be_done_is_said(
    fake_host: FakeHost, library: Library, tmp_path: Path, target: str, wanted: Wanted, sentence: str
) -> None:
    put(fake_host)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InvalidInput, match=sentence):
        library.export_to(tmp_path / target, "my-cat", wanted)
    assert sorted(tmp_path.iterdir()) == before
