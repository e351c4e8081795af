"""Folders of pictures: what is counted, what is skipped and why, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from train_embedding.errors import InvalidInput, NotAllowed, NotFound, NothingToTrainOn
from train_embedding.services.datasets.datasets import Datasets
from train_embedding.testing import FakeHost


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


def draw(path: Path, size: tuple[int, int] = (8, 8)) -> Path:
    Image.new("RGB", size, (200, 30, 30)).save(path)
    return path


def test_counts_pictures(fake_host: FakeHost, pictures: Path) -> None:
    for name in ("a.png", "b.jpg", "c.JPEG", "d.webp", "e.bmp", "f.gif", "g.tiff", "剣.png"):
        draw(pictures / name)
    report = Datasets(fake_host).inspect(pictures)
    assert report.to_json() == {
        "folder": str(pictures), "images": 8, "captions": 0, "masks": 0, "skipped": [], "notes": [],
    }  # fmt: skip


def test_leaves_out_what_is_no_training_picture(fake_host: FakeHost, pictures: Path) -> None:
    draw(pictures / "a.png")
    draw(pictures / "a-masklabel.png")
    draw(pictures / ".hidden.png")
    (pictures / "a.txt").write_text("a red square")
    (pictures / "notes").write_text("x")
    (pictures / "gone.png").symlink_to(pictures / "nowhere.png")
    (pictures / "folder.png").mkdir()
    draw(pictures / "folder.png" / "deeper.png")
    report = Datasets(fake_host).inspect(pictures)
    assert (report.images, report.skipped) == (1, ())


def test_bad_pictures_are_skipped_with_the_reason(fake_host: FakeHost, pictures: Path) -> None:
    draw(pictures / "good.png")
    (pictures / "empty.png").touch()
    (pictures / "text.jpg").write_text("not a picture")
    whole = draw(pictures / "broken.png", (64, 64)).read_bytes()
    (pictures / "broken.png").write_bytes(whole[:60] + b"\xff\xff\xff\xff" + whole[64:])
    report = Datasets(fake_host).inspect(pictures)
    assert report.images == 1
    reasons = dict(report.skipped)
    assert sorted(reasons) == ["broken.png", "empty.png", "text.jpg"]
    assert reasons["empty.png"] == "It is empty."
    assert reasons["text.jpg"] == "It is not an image."
    assert reasons["broken.png"].startswith("It is damaged")
    json.dumps(report.to_json())


def test_pictures_of_too_many_pixels_are_not_decoded(fake_host: FakeHost, pictures: Path) -> None:
    draw(pictures / "good.png")
    bomb = draw(pictures / "bomb.bmp").read_bytes()
    (pictures / "bomb.bmp").write_bytes(bomb[:18] + (60000).to_bytes(4, "little") * 2 + bomb[26:])
    report = Datasets(fake_host).inspect(pictures)
    assert report.images == 1
    assert "too many pixels" in dict(report.skipped)["bomb.bmp"]


def test_the_bound_holds_where_the_host_switched_off_that_of_pillow(
    fake_host: FakeHost, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    test_pictures_of_too_many_pixels_are_not_decoded(fake_host, pictures)


def test_what_is_worth_knowing_of_captions(fake_host: FakeHost, pictures: Path) -> None:
    for name in ("a", "b", "c", "d", "e"):
        draw(pictures / f"{name}.png")
    assert Datasets(fake_host).inspect(pictures).notes == ()
    (pictures / "a.txt").write_bytes("a red ball".encode("utf-16"))
    (pictures / "b.txt").write_text(" \n")
    report = Datasets(fake_host).inspect(pictures)
    assert (report.images, report.captions, report.skipped) == (5, 2, ())
    assert report.notes == (
        "3 of 5 images have no caption file, so their file names are used: c.png, d.png, e.png.",
        "Empty caption files, which make [filewords] empty: b.txt.",
    )
    assert report.to_json()["notes"] == list(report.notes)
    (pictures / "c.caption").write_text("a blue ball")
    assert (
        'Captions are read from ".txt" files only, not from ".caption" files: c.png.'
        in Datasets(fake_host).inspect(pictures).notes
    )


def test_captions_that_cannot_be_used_are_told_before_training(fake_host: FakeHost, pictures: Path) -> None:
    draw(pictures / "good.png")
    texts = {
        "large": b"x" * 70_000, "latin": b"caf\xe9", "lfs": b"version https://git-lfs.github.com/spec/v1\n", "page": b"<html>",
        "binary": b"a\0b", "weight": b"(a:1.2.3)", "brace": b"{a",
    }  # fmt: skip
    for name, text in texts.items():
        draw(pictures / f"{name}.png")
        (pictures / f"{name}.txt").write_bytes(text)
    report = Datasets(fake_host).inspect(pictures)
    assert report.images == 1
    assert sorted(name for name, _ in report.skipped) == sorted(f"{name}.png" for name in texts)
    for name, reason in report.skipped:
        assert reason.startswith(f'The caption file "{Path(name).stem}.txt" ')


def test_folders_named_for_kohyas_scripts(fake_host: FakeHost, pictures: Path) -> None:
    datasets = Datasets(fake_host)
    subject = pictures / "10_cat"
    subject.mkdir()
    draw(subject / "a.png")
    with pytest.raises(NothingToTrainOn, match=r"only in the subfolder 10_cat\.") as caught:
        datasets.inspect(pictures)
    assert 'Switch on "Repeats from folder names":' in caught.value.hint
    assert datasets.inspect(pictures, repeats=True).notes == ()
    (note,) = datasets.inspect(subject).notes
    assert note.startswith("In kohya's scripts, the name of this folder means 10 repeats.")
    draw(pictures / "b.png")
    (note,) = datasets.inspect(pictures).notes
    assert note.startswith("Images in the subfolder 10_cat are not used.")
    assert datasets.inspect(pictures, repeats=True).notes == ()


def test_what_is_known_of_an_image_by_its_header_is_told_before_a_run(fake_host: FakeHost, pictures: Path) -> None:
    draw(pictures / "good.png")
    Image.new("F", (8, 8)).save(pictures / "float.tif")
    Image.new("1", (12_800, 10_001)).save(pictures / "large.png")
    (pictures / "eps.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n")
    (pictures / "page.gif").write_bytes(b"<!doctype html><title>404</title>")
    reasons = dict(Datasets(fake_host).inspect(pictures).skipped)
    assert sorted(reasons) == ["eps.jpg", "float.tif", "large.png", "page.gif"]
    assert reasons["float.tif"].startswith("Its pixels are floating-point numbers.")
    assert reasons["large.png"].endswith("the limit is 128 million. Resize it.")
    assert reasons["eps.jpg"] == "It is not an image."
    assert reasons["page.gif"].startswith("It is a web page instead of the file")


def test_masks_that_cannot_be_used_are_told_before_a_run(fake_host: FakeHost, pictures: Path) -> None:
    for name in ("fits", "odd", "text"):
        draw(pictures / f"{name}.png", (32, 16))
    draw(pictures / "fits-masklabel.png", (16, 8))
    draw(pictures / "odd-masklabel.png", (16, 16))
    (pictures / "text-masklabel.png").write_text("x")
    assert Datasets(fake_host).inspect(pictures).skipped == ()
    for masks in ("file", "auto"):
        assert dict(Datasets(fake_host).inspect(pictures, masks=masks).skipped) == {
            "odd.png": 'Its mask "odd-masklabel.png" has a different aspect ratio: 16 × 16 pixels; the image has 32 × 16.',
            "text.png": 'Its mask "text-masklabel.png" cannot be used: It is not an image.',
        }


def test_every_kind_of_image_is_found(fake_host: FakeHost, pictures: Path) -> None:
    kinds = {
        "a.tga": "TGA",
        "b.jp2": "JPEG2000",
        "c.jpe": "JPEG",
        "d.ppm": "PPM",
        "e.ico": "ICO",
        "f.jfif": "JPEG",
        "g.png": "JPEG",
    }
    for name, kind in kinds.items():
        Image.new("RGB", (32, 32), "red").save(pictures / name, kind)
    report = Datasets(fake_host).inspect(pictures)
    assert (report.images, report.skipped) == (len(kinds), ())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_does_not_hang(fake_host: FakeHost, pictures: Path) -> None:
    draw(pictures / "good.png")
    os.mkfifo(pictures / "pipe.png")
    assert Datasets(fake_host).inspect(pictures).images == 1


def test_a_kind_that_pillow_cannot_read(fake_host: FakeHost, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(pictures / "good.png")
    (pictures / "new.jxl").write_bytes(b"\xff\x0a")
    monkeypatch.setattr(Image, "registered_extensions", lambda: {".png": "PNG"})
    ((name, reason),) = Datasets(fake_host).inspect(pictures).skipped
    assert (name, reason) == ("new.jxl", "The installed version of Pillow cannot read .jxl images.")


def test_no_usable_picture(fake_host: FakeHost, pictures: Path) -> None:
    with pytest.raises(NothingToTrainOn, match="There are no images in"):
        Datasets(fake_host).inspect(pictures)
    (pictures / "b.png").touch()
    with pytest.raises(NothingToTrainOn, match=r'1 file was skipped\. "b\.png": It is empty'):
        Datasets(fake_host).inspect(pictures)
    (pictures / "a.png").write_text("text")
    with pytest.raises(NothingToTrainOn, match=r'2 files were skipped\. "a\.png": It is not an image'):
        Datasets(fake_host).inspect(pictures)


def test_folders_that_are_none(fake_host: FakeHost, pictures: Path) -> None:
    datasets = Datasets(fake_host)
    with pytest.raises(NotFound, match="does not exist"):
        datasets.inspect(pictures / "none")
    with pytest.raises(InvalidInput, match="is a file"):
        datasets.inspect(draw(pictures / "a.png"))
    for nothing in ("", "  \n"):
        with pytest.raises(InvalidInput, match="No dataset"):
            datasets.inspect(nothing)
    for odd in ("a\0b", "a" * 5000, "~nobody_of_that_name/x"):
        with pytest.raises((InvalidInput, NotAllowed, NotFound)):
            datasets.inspect(odd)


def test_text_around_a_path_and_the_home_folder(fake_host: FakeHost, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(pictures / "a.png")
    monkeypatch.setenv("HOME", str(pictures.parent))
    monkeypatch.setenv("USERPROFILE", str(pictures.parent))
    for text in (f" {pictures}\n", "~/pictures"):
        assert Datasets(fake_host).inspect(text).folder == pictures


def test_a_shared_server_allows_its_own_folders_only(tmp_path: Path) -> None:
    allowed, outside = tmp_path / "allowed", tmp_path / "outside"
    for folder in (allowed, outside):
        folder.mkdir()
        draw(folder / "a.png")
    (allowed / "way-out").symlink_to(outside)
    datasets = Datasets(FakeHost(tmp_path / "host", allowed_folders=(allowed,)))
    assert datasets.inspect(allowed).images == 1
    for folder in (outside, allowed / "way-out", allowed / ".." / "outside", tmp_path / "allowed2", outside / "none"):
        with pytest.raises(NotAllowed, match="outside the folders") as caught:
            datasets.inspect(folder)
        assert str(allowed) in caught.value.hint
    (allowed / "b.png").symlink_to(outside / "a.png")
    report = datasets.inspect(allowed)
    assert (report.images, [name for name, _ in report.skipped]) == (1, ["b.png"])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(fake_host: FakeHost, pictures: Path) -> None:
    pictures.chmod(0)
    try:
        with pytest.raises(NotAllowed):
            Datasets(fake_host).inspect(pictures)
    finally:
        pictures.chmod(0o700)


def test_templates_of_the_package(fake_host: FakeHost) -> None:
    templates = Datasets(fake_host).templates()
    assert {"subject", "style", "caption file only"} <= set(templates)
    assert templates["caption file only"] == ("[name], [filewords]",)
    assert all("[name]" in "".join(lines) for lines in templates.values())


def test_templates_of_the_host(fake_host: FakeHost) -> None:
    folder = fake_host.info().templates_folder
    assert folder is not None
    (folder / "subject.txt").write_text("a photo of a [name]\n\n  a rendering of a [name], [filewords]  \n")
    (folder / "none.txt").write_text("picture")
    (folder / "bad.txt").write_bytes(b"[name] \xff\xfe")
    (folder / "bom.txt").write_bytes(b"\xef\xbb\xbf[name] \xe5\x89\xa3\r\n")
    (folder / "utf16.txt").write_bytes("a photo of [name]\r\n".encode("utf-16"))
    (folder / "other.md").write_text("[name]")
    templates = Datasets(fake_host).templates()
    assert templates["subject"] == ("a photo of a [name]", "a rendering of a [name], [filewords]")
    assert templates["bom"] == ("[name] 剣",)
    assert templates["utf16"] == ("a photo of [name]",)
    assert not {"none", "bad", "other"} & set(templates)
