"""Paths as they are typed: with quotes, spaces, "~" and as URLs."""

from __future__ import annotations

from pathlib import Path

import pytest

from train_embedding.errors import InvalidInput
from train_embedding.services.datasets.datasets import Datasets
from train_embedding.services.typed_paths import typed_path, typed_text
from train_embedding.testing import FakeHost


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("/a/b c", "/a/b c"),
        ('"/a/b c"', "/a/b c"),
        ("'/a/b c'", "/a/b c"),
        ("“/a/b c”", "/a/b c"),
        (' "/a/b c" \n', "/a/b c"),
        ("\"'/a'\"", "/a"),
        ("\u202a/a/b", "/a/b"),
        ("\ufeff/a/b", "/a/b"),
        ("file:///a/b%20c", "/a/b c"),
        ("file://localhost/a/b", "/a/b"),
        ("file://server/a/b", "//server/a/b"),
        ("/a/it's", "/a/it's"),
        ('/a/"b', '/a/"b'),
        ('"', '"'),
        ('C:\\cats "old"', 'C:\\cats "old"'),
        ("~nobody-has-this-name/a", "~nobody-has-this-name/a"),
        ("a/../b", "a/../b"),
    ],
)
def test_what_a_typed_path_means(typed: str, meant: str) -> None:
    assert str(typed_path(typed)) == str(Path(meant))


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert typed_path('"~/cats"') == tmp_path / "cats"


@pytest.mark.parametrize("typed", ["", "  ", '""', '" "', "''"])
def test_nothing_is_typed(fake_host: FakeHost, typed: str) -> None:
    assert typed_text(typed) == ""
    with pytest.raises(InvalidInput, match="No dataset"):
        Datasets(fake_host).check_folder(typed)


def test_a_dataset_in_quotes(fake_host: FakeHost, tmp_path: Path) -> None:
    (tmp_path / "my cats").mkdir()
    folder = (tmp_path / "my cats").resolve()
    for typed in (f'"{folder}"', f"'{folder}' ", folder.as_uri(), folder):
        assert Datasets(fake_host).check_folder(typed) == folder
