"""Which paths may be read: inside the allowed folders after links are followed, and what exists elsewhere is not told."""

from __future__ import annotations

from pathlib import Path

import pytest

from train_embedding.allowed_folders import resolve_allowed
from train_embedding.errors import InvalidInput, NotAllowed


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    for name in ("allowed", "secret"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cat.pt").touch()
    (tmp_path / "allowed/way-out").symlink_to(tmp_path / "secret")
    (tmp_path / "way-in").symlink_to(tmp_path / "allowed")
    return tmp_path / "allowed"


def test_without_allowed_folders_every_path_may_be_read(allowed: Path) -> None:
    assert resolve_allowed(allowed / "way-out/cat.pt", None) == (allowed.parent / "secret/cat.pt").resolve()


@pytest.mark.parametrize("name", ["allowed", "allowed/cat.pt", "allowed/none.pt", "way-in/cat.pt", "secret/../allowed/cat.pt"])
def test_inside(allowed: Path, name: str) -> None:
    assert resolve_allowed(allowed.parent / name, [allowed]) == (allowed.parent / name).resolve()
    assert resolve_allowed(allowed.parent / name, [allowed.parent / "secret", allowed.parent / "way-in"])


@pytest.mark.parametrize(
    "name", ["secret", "secret/cat.pt", "secret/none.pt", "allowed2", "allowed/way-out/cat.pt", "allowed/../secret/cat.pt"]
)
def test_outside(allowed: Path, name: str) -> None:
    path = allowed.parent / name
    with pytest.raises(NotAllowed) as caught:
        resolve_allowed(path, [allowed])
    assert caught.value.message == f'"{path}" is outside the folders that are allowed on this server.'
    assert caught.value.hint == f"Allowed folders: {allowed}."
    with pytest.raises(NotAllowed, match=r'^"it" is outside'):
        resolve_allowed(path, [], shown="it")


def test_what_cannot_be_a_path(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not a valid path"):
        resolve_allowed(tmp_path / "\0", None)
