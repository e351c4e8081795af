"""The trash folder: its layouts, what is no item, and emptying it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from train_embedding.errors import NotFound
from train_embedding.services.store.trash import Trash


def put(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_items_of_both_layouts(tmp_path: Path) -> None:
    put(tmp_path / "sword.20261122-143000.pt", b"old layout")
    put(tmp_path / "剣 v1.5.20261122-143000-2.safetensors")
    for name in ("sword.pt", "sword.preview.png", "sword.pt.optim"):
        put(tmp_path / "sword.20261123-080000" / "styles" / "old" / name)
    items = Trash(tmp_path).list()
    assert [(item.id, item.name, item.file, item.folder) for item in items] == [
        ("sword.20261123-080000", "sword", "sword.pt", "styles/old"),
        ("剣 v1.5.20261122-143000-2.safetensors", "剣 v1.5", "剣 v1.5.safetensors", ""),
        ("sword.20261122-143000.pt", "sword", "sword.pt", ""),
    ]
    assert items[0].files == ("styles/old/sword.preview.png", "styles/old/sword.pt", "styles/old/sword.pt.optim")
    assert items[0].size == 3
    assert time.localtime(items[0].when)[:6] == (2026, 11, 23, 8, 0, 0)


def test_what_is_no_item(tmp_path: Path) -> None:
    put(tmp_path / "readme.txt")
    put(tmp_path / "sword.99999999-999999.pt")
    put(tmp_path / "other" / "sword.pt")
    (tmp_path / "empty.20261122-143000").mkdir()
    put(tmp_path / "half.20261122-143000" / ".1-abc-0.tmp")
    (tmp_path / "link.20261122-143000").symlink_to(tmp_path / "other")
    assert Trash(tmp_path).list() == []
    assert Trash(tmp_path).empty() == 0
    assert (tmp_path / "readme.txt").exists()
    assert (tmp_path / "other" / "sword.pt").exists()
    assert Trash(tmp_path / "nothing").list() == []
    assert Trash(tmp_path / "nothing").empty() == 0


@pytest.mark.parametrize("trash_id", ["", ".", "..", "../embeddings", "/etc", "sword", "sword.20261122-143000/sword.pt"])
def test_only_items_have_an_id(tmp_path: Path, trash_id: str) -> None:
    put(tmp_path / "sword.20261122-143000" / "sword.pt")
    with pytest.raises(NotFound):
        Trash(tmp_path).get(trash_id)


def test_emptying(tmp_path: Path) -> None:
    put(tmp_path / "sword.20261122-143000.pt")
    put(tmp_path / "sword.20261123-080000" / "sub" / "sword.pt")
    put(tmp_path / ".emptied-half.20261122-143000" / "half.pt")
    assert Trash(tmp_path).empty() == 2
    assert list(tmp_path.iterdir()) == []


def test_two_in_one_second(tmp_path: Path) -> None:
    root, trash = tmp_path / "embeddings", Trash(tmp_path / "trash")
    file = put(root / "sword.pt")
    targets = set[Path]()
    for _ in range(3):
        ((_, target),) = trash.plan_copy("sword", [file], root).copies
        put(target)
        targets.add(target)
    assert len(targets) == len(trash.list()) == 3
