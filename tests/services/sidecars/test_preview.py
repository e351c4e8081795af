"""The preview picture: from a file, from a run, drawn on the spot."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from train_embedding.embeddings.embedding import Embedding
from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.errors import Conflict, HostFailed, InvalidInput, NotFound, UnreadableFile
from train_embedding.images.limits import Limits
from train_embedding.services.library.library import Library
from train_embedding.services.run_records import RunState
from train_embedding.services.sidecars import untrusted_images
from train_embedding.services.sidecars.untrusted_images import check_preview
from train_embedding.testing import FakeHost

SPEC = TrainingSpec("sword", "/pictures")


def picture(form: str = "PNG", size: tuple[int, int] = (8, 8), **options: Any) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, "red").save(data, form, **options)
    return data.getvalue()


@pytest.fixture
def library(fake_host: FakeHost) -> Library:
    library = Library(fake_host)
    library.save(Embedding("sword", {"clip_l": torch.ones(1, 768)}))
    return library


@pytest.mark.parametrize(("form", "suffix"), [("PNG", ".png"), ("JPEG", ".jpg"), ("WEBP", ".webp"), ("GIF", ".gif")])
def test_from_a_file(library: Library, form: str, suffix: str) -> None:
    data = picture(form)
    entry = library.set_preview("sword", data)
    assert entry.preview is not None
    assert entry.preview.name == f"sword.preview{suffix}"
    assert library.preview("sword").read_bytes() == data


def test_the_old_ones_go_to_the_trash(fake_host: FakeHost, library: Library) -> None:
    """All of them, or the WebUI might go on showing one."""
    folder = fake_host.info().embeddings_folder
    for name in ("sword.png", "sword.preview.jpeg", "sword.preview.png"):
        (folder / name).write_bytes(name.encode())
    library.set_preview("sword", picture())
    assert sorted(path.name for path in folder.iterdir()) == ["sword.preview.png", "sword.pt"]
    (item,) = library.trashed()
    assert item.files == ("sword.png", "sword.preview.jpeg", "sword.preview.png")
    with pytest.raises(Conflict, match=r"sword\.preview\.png"):
        library.restore(item.id)
    (folder / "sword.preview.png").unlink()
    assert library.restore(item.id) == []
    assert library.get("sword").sidecars == ("sword.png", "sword.preview.jpeg", "sword.preview.png")


@pytest.mark.parametrize("data", [b"", b"garbage", picture()[:40], b"<svg></svg>", picture("BMP"), picture("TIFF")])
def test_what_is_no_picture(library: Library, data: bytes) -> None:
    with pytest.raises(UnreadableFile, match="cannot be read"):
        library.set_preview("sword", data)
    with pytest.raises(NotFound, match="no preview"):
        library.preview("sword")


def test_pictures_that_are_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(untrusted_images.PREVIEW, "PNG", Limits(100))
    with pytest.raises(UnreadableFile, match="11 × 10 pixels"):
        check_preview(picture(size=(11, 10)))
    monkeypatch.setattr(untrusted_images, "PREVIEW_BYTES", 10)
    with pytest.raises(UnreadableFile, match="larger"):
        check_preview(picture())


def run(host: FakeHost, run_id: str, *previews: str) -> RunState:
    folder = host.info().runs_folder / run_id
    (folder / "previews").mkdir(parents=True)
    for name in previews:
        (folder / "previews" / name).write_bytes(picture(size=(len(name), 3)))
    state = RunState(run_id, "sword", folder, SPEC, previews=tuple(folder / "previews" / name for name in previews))
    state.save()
    return state


def test_from_a_run(fake_host: FakeHost, library: Library) -> None:
    state = run(fake_host, "20261122-1", "0000000.png", "0000100.png")
    entry = library.preview_from_run("sword", "20261122-1")
    assert entry.preview is not None
    assert entry.preview.read_bytes() == state.previews[-1].read_bytes()


@pytest.mark.parametrize("run_id", ["", "..", "none", "../embeddings", "settings.json"])
def test_no_such_run(library: Library, run_id: str) -> None:
    with pytest.raises(NotFound):
        library.preview_from_run("sword", run_id)


def test_a_run_without_pictures_or_with_somebody_elses(fake_host: FakeHost, library: Library, tmp_path: Path) -> None:
    run(fake_host, "empty")
    with pytest.raises(NotFound, match="no previews"):
        library.preview_from_run("sword", "empty")
    (tmp_path / "secret.png").write_bytes(picture())
    state = run(fake_host, "lying")
    RunState("lying", "sword", state.folder, state.spec, previews=(tmp_path / "secret.png",)).save()
    with pytest.raises(UnreadableFile):
        library.preview_from_run("sword", "lying")


def test_drawn_on_the_spot(fake_host: FakeHost, library: Library) -> None:
    entry = library.draw_preview("sword", "a [name] on a hill, [name]")
    assert entry.preview is not None
    with Image.open(entry.preview) as drawn:
        assert drawn.size == (64, 64)
    (request,) = fake_host.requests
    assert request.prompt == "a sword on a hill, sword"
    assert [one.name for one in request.embeddings] == ["sword"]
    assert fake_host.jobs == ["Drawing a preview of sword"]
    library.draw_preview("sword", " ")
    assert fake_host.requests[-1].prompt == "sword"


def test_it_cannot_be_drawn(fake_host: FakeHost, library: Library) -> None:
    with pytest.raises(InvalidInput, match="characters"):
        library.draw_preview("sword", "x" * 10_001)
    fake_host.widths = {"clip_l": 768, "clip_g": 1280}
    with pytest.raises(Conflict, match="is for SD1; the loaded checkpoint is SDXL"):
        library.draw_preview("sword")
    fake_host.widths = {}
    with pytest.raises(HostFailed):
        library.draw_preview("sword")
    assert fake_host.requests == []


def test_a_preview_that_is_a_link_to_elsewhere(fake_host: FakeHost, library: Library, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(picture())
    (fake_host.info().embeddings_folder / "sword.preview.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(NotFound):
        library.preview("sword")
