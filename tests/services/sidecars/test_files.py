"""Which files belong to which embedding."""

from __future__ import annotations

from pathlib import Path

from train_embedding.services.sidecars.files import (
    belongs_to_file,
    find_sidecars,
    group_sidecars,
    select_previews,
    split_suffix,
)


def test_names_are_split_as_pathlib_does() -> None:
    for name in ("a.pt", "a.b.pt", ".hidden", ".hidden.pt", "none", "a b.pt", "剣.safetensors", "a..pt"):
        assert split_suffix(name) == (Path(name).stem, Path(name).suffix)


def test_what_belongs_to_what() -> None:
    names = [
        "cat.pt", "cat.preview.png", "cat.png", "cat.JSON", "cat.txt", "cat.civitai.info", "cat.pt.optim", "cat.zip", "cat",
        "cat.v2.pt", "cat.v2.preview.png", "cat.v2.json", "cat2.json", "cats.png", "dog.preview.webp", "dog.safetensors",
    ]  # fmt: skip
    assert {name: sorted(files) for name, files in group_sidecars(names, Path()).items()} == {
        "cat.pt": ["cat.JSON", "cat.civitai.info", "cat.png", "cat.preview.png", "cat.pt.optim", "cat.txt"],
        "cat.v2.pt": ["cat.v2.json", "cat.v2.preview.png"],
        "dog.safetensors": ["dog.preview.webp"],
    }


def test_every_kind_of_preview_belongs_to_its_embedding() -> None:
    names = [
        "dog.pt", "dog.preview.mp4", "dog.preview.webm", "dog.mp4", "dog.tiff", "dog.preview.gif", "dog.preview.xyz",
        "dog.v2.mov", "dog.zip", "dogs.preview.mp4",
    ]  # fmt: skip
    assert set(group_sidecars(names, Path())["dog.pt"]) == {*names} - {"dog.pt", "dog.zip", "dogs.preview.mp4"}


def test_a_text_describes_the_embedding_of_its_very_name() -> None:
    alone = group_sidecars(["dog.pt", "dog.txt", "dog.v2.txt", "dog.pt.txt"], Path())
    assert sorted(alone["dog.pt"]) == ["dog.pt.txt", "dog.txt"]
    both = group_sidecars(["dog.pt", "dog.v2.pt", "dog.txt", "dog.v2.txt", "dog.v2.preview.mp4"], Path())
    assert {name: sorted(files) for name, files in both.items()} == {
        "dog.pt": ["dog.txt"], "dog.v2.pt": ["dog.v2.preview.mp4", "dog.v2.txt"],
    }  # fmt: skip


def test_the_preview_that_is_shown_first() -> None:
    assert select_previews("a", ["a.png", "a.preview.webp", "a.json"]) == ["a.preview.webp", "a.png"]


def test_links_out_of_the_folder_are_nobodys(tmp_path: Path) -> None:
    folder = tmp_path / "embeddings"
    (folder / "a.png").mkdir(parents=True)
    for path in (folder / "a.pt", folder / "a.json", tmp_path / "secret.txt"):
        path.touch()
    (folder / "a.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "a.jpg").symlink_to(folder / "a.json")
    (folder / "a.gif").symlink_to(folder / "nothing")
    assert [path.name for path in find_sidecars(folder / "a.pt")] == ["a.jpg", "a.json"]


def test_sidecars_of_one_file_only(tmp_path: Path) -> None:
    assert belongs_to_file(tmp_path / "a.pt.optim", tmp_path / "a.pt")
    assert not belongs_to_file(tmp_path / "a.json", tmp_path / "a.pt")
