"""Folders of training pictures: what is found, how it is framed, and what is left out with which reason."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest
from PIL import Image

from train_embedding.engine.config.spec import TrainingSpec, resolve
from train_embedding.engine.data.image_folder import (
    SEARCH_SUBFOLDERS,
    ImageOptions,
    check_image,
    find_images,
    image_options,
    scan_folder,
)
from train_embedding.errors import NotAllowed, NotFound, NothingToTrainOn, UnreadableFile

RED, BLUE = (255, 0, 0), (0, 0, 255)
SQUARE = ImageOptions(((64, 64),))


def halves(size: tuple[int, int] = (64, 64), left: tuple[int, ...] = RED, right: tuple[int, ...] = BLUE) -> Image.Image:
    picture = Image.new("RGBA" if len(left) == 4 else "RGB", size, left)
    picture.paste(right, (size[0] // 2, 0, *size))
    return picture


def saved(picture: Image.Image, file: Path, **options: object) -> Path:
    picture.save(file, **options)  # pyright: ignore[reportArgumentType]
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    saved(halves(), made / "good.png")
    return made


def usable(folder: Path, framing: ImageOptions = SQUARE, allowed: list[Path] | None = None) -> tuple[list[str], dict[str, str]]:
    """Names of the pictures that can be decoded, and the reasons of the others."""
    pictures, skipped = scan_folder(folder, framing, allowed)
    names: list[str] = []
    for picture in pictures:
        try:
            picture.read()
            names.append(picture.name)
        except UnreadableFile as error:
            skipped.append((picture.name, error.message))
    return names, dict(skipped)


def reasons(folder: Path) -> dict[str, str]:
    names, skipped = usable(folder)
    assert names == ["good.png"]
    return skipped


def test_words_come_with_the_picture(folder: Path) -> None:
    (folder / "good.txt").write_text("a halved square")
    ((picture,), skipped) = scan_folder(folder, SQUARE)
    assert (picture.caption, picture.has_caption_file, skipped) == ("a halved square", True, [])
    (folder / "good.txt").unlink()
    ((picture,), skipped) = scan_folder(folder, SQUARE)
    assert (picture.caption, picture.has_caption_file, skipped) == ("good", False, [])


def test_what_is_no_training_picture_is_not_mentioned(folder: Path) -> None:
    saved(halves(), folder / "good-masklabel.png")
    saved(halves(), folder / ".hidden.png")
    (folder / "notes.txt").write_text("x")
    (folder / "deeper.png").mkdir()
    saved(halves(), folder / "deeper.png" / "a.png")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    assert reasons(folder) == {}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_does_not_hang(folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    assert reasons(folder) == {}


def test_unreadable_pictures_are_left_out_with_the_reason(folder: Path) -> None:
    whole = saved(halves((256, 256)), folder / "cut.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").touch()
    (folder / "text.webp").write_text("not a picture")
    (folder / "head.png").write_bytes((folder / "good.png").read_bytes()[:20])
    found = reasons(folder)
    assert sorted(found) == ["cut.jpg", "empty.png", "head.png", "text.webp"]
    assert found["cut.jpg"].startswith("It is damaged: ")
    assert found["empty.png"] == "It is empty."
    assert found["text.webp"] == "It is not an image."


def test_huge_pictures_are_not_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = saved(Image.new("RGB", (8, 8)), folder / "bomb.bmp").read_bytes()
    (folder / "bomb.bmp").write_bytes(bomb[:18] + (60000).to_bytes(4, "little") * 2 + bomb[26:])
    assert reasons(folder) == {"bomb.bmp": "It has too many pixels. Resize it."}
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # a host may have switched off Pillow's own bound
    assert reasons(folder) == {"bomb.bmp": "It has too many pixels: 60000 × 60000; the limit is 128 million. Resize it."}


def test_whatever_pillow_raises(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(halves(), folder / "odd.gif")
    whole_open = Image.open

    def open_(file: BinaryIO, formats: Sequence[str]) -> Image.Image:
        if formats == ("GIF",):
            raise IndexError("index out of range")
        return whole_open(file, formats=formats)

    monkeypatch.setattr(Image, "open", open_)
    assert reasons(folder) == {"odd.gif": "It is damaged: index out of range"}


def test_a_bad_caption_file_leaves_its_picture_out(folder: Path) -> None:
    saved(halves(), folder / "b.png")
    (folder / "b.txt").write_bytes(b"\xff\xfe\x61")  # half a letter of UTF-16
    assert reasons(folder) == {"b.png": 'The caption file "b.txt" is not UTF-8 or UTF-16 text. Save it as UTF-8.'}


def test_what_was_saved_in_place_of_an_image_is_named(folder: Path) -> None:
    (folder / "lfs.png").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    (folder / "page.jpg").write_bytes(b"<!DOCTYPE html><html><body>Sign in</body></html>")
    said = reasons(folder)
    assert said["lfs.png"].startswith("It is a Git LFS pointer instead of the file; ")
    assert said["page.jpg"].startswith("It is a web page instead of the file; ")
    for name, reason in said.items():
        with pytest.raises(UnreadableFile) as caught:
            check_image(folder / name)
        assert caught.value.message == reason


def test_a_quick_check_finds_what_reading_finds(folder: Path) -> None:
    check_image(folder / "good.png")
    (folder / "text.png").write_text("x")
    with pytest.raises(UnreadableFile, match="It is not an image"):
        check_image(folder / "text.png")
    (folder / "good.txt").write_bytes(b"\xff")
    with pytest.raises(UnreadableFile, match="not UTF-8"):
        check_image(folder / "good.png")


def test_links_that_lead_outside_the_allowed_folders(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    saved(halves(), outside / "secret.png")
    (outside / "secret.txt").write_text("secret words")
    (folder / "way.png").symlink_to(outside / "secret.png")
    saved(halves(), folder / "words.png")
    (folder / "words.txt").symlink_to(outside / "secret.txt")
    saved(halves(), folder / "masked.png")
    (folder / "masked-masklabel.png").symlink_to(outside / "secret.png")
    (folder / "2_more").symlink_to(outside)
    framing = ImageOptions(((64, 64),), masks="auto", repeats=True)
    sentence = "is outside the folders that are allowed on this server."
    assert usable(folder, framing, [folder]) == (
        ["good.png"],
        {
            "2_more": f'"2_more" {sentence}',
            "masked.png": f'"masked-masklabel.png" {sentence}',
            "way.png": f'"way.png" {sentence}',
            "words.png": f'"words.txt" {sentence}',
        },
    )
    assert len(usable(folder, framing, [folder, outside])[0]) == 5
    assert len(usable(folder, framing)[0]) == 5
    with pytest.raises(UnreadableFile, match="is outside the folders"):
        check_image(folder / "words.png", (folder,))


def test_every_picture_gets_the_size_of_its_shape(folder: Path) -> None:
    saved(halves((300, 200)), folder / "wide.png")
    saved(halves((200, 300)), folder / "high.png")
    saved(halves((1000, 10)), folder / "long.png")
    spec = TrainingSpec("sword", "x", resize_mode="resize")
    pictures, _ = scan_folder(folder, image_options(resolve(spec, 64)))
    targets = {picture.name: picture.target for picture in pictures}
    assert targets == {"good.png": (64, 64), "wide.png": (80, 48), "high.png": (48, 80), "long.png": (96, 40)}
    assert {picture.name: picture.size for picture in pictures}["wide.png"] == (300, 200)
    for picture in pictures:
        assert picture.resize_mode == "resize"
        assert picture.read().colour.shape == (3, *picture.target[::-1])
    pictures, _ = scan_folder(folder, image_options(resolve(replace(spec, buckets=False, width=72), 64)))
    assert {picture.target for picture in pictures} == {(72, 64)}


def test_which_mask_is_taken(folder: Path) -> None:
    saved(halves(left=(*RED, 255), right=(*BLUE, 0)), folder / "alpha.png")
    saved(halves(left=(*RED, 255), right=(*BLUE, 0)), folder / "both.png")
    for name in ("both", "file"):
        saved(Image.new("L", (64, 64)), folder / f"{name}-masklabel.png")
    saved(halves(), folder / "file.jpg")

    def masks(kind: str) -> list[str]:
        """Of alpha.png, both.png, file.jpg and good.png."""
        return [picture.mask for picture in scan_folder(folder, ImageOptions(((64, 64),), masks=kind))[0]]

    assert masks("auto") == ["alpha", "file", "file", ""]
    assert masks("alpha") == ["alpha", "alpha", "", ""]
    assert masks("file") == ["", "file", "file", ""]
    assert masks("none") == ["", "", "", ""]
    assert [picture.read().mask is None for picture in scan_folder(folder, ImageOptions(((64, 64),), masks="auto"))[0]] == [
        False, False, False, True,
    ]  # fmt: skip


def test_repeated_subfolders(folder: Path) -> None:
    for name in ("3_faces", "100_hands", "0_none", "2023_photos", "old", "12", "3_"):
        (folder / name).mkdir()
        saved(halves(), folder / name / "a.png")
    (folder / "3_faces" / "2_deeper").mkdir()
    saved(halves(), folder / "3_faces" / "2_deeper" / "a.png")
    pictures, skipped = scan_folder(folder, ImageOptions(((64, 64),), repeats=True))
    assert {picture.name: picture.repeats for picture in pictures} == {"good.png": 1, "100_hands/a.png": 100, "3_faces/a.png": 3}
    sentence = "The number in its name, the repeats of its images, must be from 1 to 100."
    assert skipped == [("0_none", sentence), ("2023_photos", sentence)]
    assert [picture.name for picture in scan_folder(folder, SQUARE)[0]] == ["good.png"]


def test_pictures_in_subfolders_alone_are_enough(folder: Path) -> None:
    (folder / "1_all").mkdir()
    (folder / "good.png").rename(folder / "1_all" / "good.png")
    assert usable(folder, ImageOptions(((64, 64),), repeats=True)) == (["1_all/good.png"], {})


def test_a_picture_that_changed_is_noticed(folder: Path) -> None:
    ((picture,), _) = scan_folder(folder, SQUARE)
    picture.check_unchanged()
    os.utime(picture.file, ns=(0, 0))
    with pytest.raises(UnreadableFile, match=r"^It changed while the images were being read\.$"):
        picture.check_unchanged()
    picture.file.unlink()
    with pytest.raises(UnreadableFile, match=r"^It is no longer there\.$"):
        picture.check_unchanged()


def test_nothing_to_train_on(folder: Path) -> None:
    (folder / "good.png").unlink()
    with pytest.raises(NothingToTrainOn, match="There are no images in") as caught:
        scan_folder(folder, SQUARE)
    assert caught.value.hint == "Choose a folder that directly contains the training images."
    (folder / "b.png").touch()
    with pytest.raises(NothingToTrainOn, match=r'1 file was skipped\. "b\.png": It is empty\.'):
        scan_folder(folder, SQUARE)


def test_images_in_subfolders_alone_are_pointed_to(folder: Path) -> None:
    """kohya's scripts want a folder of folders that are named after their repeats."""
    (folder / "good.png").unlink()
    (folder / "empty").mkdir()
    (folder / "old").mkdir()
    saved(halves(), folder / "old" / "a.png")
    with pytest.raises(NothingToTrainOn, match=r'in ".*" itself, only in the subfolder old\.') as caught:
        scan_folder(folder, SQUARE)
    assert caught.value.hint == "Choose one of these folders."
    for name in ("10_cat", "5_dog"):
        (folder / name).mkdir()
        saved(halves(), folder / name / "a.png")
    with pytest.raises(NothingToTrainOn, match=r"only in the subfolders 10_cat, 5_dog\.") as caught:
        scan_folder(folder, SQUARE)
    assert caught.value.hint == SEARCH_SUBFOLDERS
    assert 'Switch on "Repeats from folder names":' in SEARCH_SUBFOLDERS


def test_subfolders_behind_links_are_not_looked_into(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    saved(halves(), outside / "secret.png")
    (folder / "good.png").unlink()
    (folder / "10_way").symlink_to(outside)
    with pytest.raises(NothingToTrainOn, match="There are no images in"):
        scan_folder(folder, SQUARE, [folder])


def test_no_folder(folder: Path) -> None:
    for path in (folder / "none", folder / "good.png"):
        with pytest.raises(NotFound, match=r"^The folder .* does not exist"):
            find_images(path)


def test_a_folder_that_may_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(NotAllowed, match=r"cannot be read: Permission denied\."):
        find_images(folder)
