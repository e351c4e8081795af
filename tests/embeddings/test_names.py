"""Names: what is refused, with one sentence that names the reason, and which are the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from train_embedding.embeddings.names import (
    FORBIDDEN,
    MAX_BYTES,
    check_name,
    did_you_mean,
    folded,
    is_spelled_like,
    path_for,
)
from train_embedding.errors import InvalidName


@pytest.mark.parametrize(
    "name",
    [
        "sword", "a", "old sword", "v1.5-sword_2", "剣の絵", "меч", "🗡️", "👩\u200d🎨 portrait", "it's", "a+b#c;d=e%f&g!",
        "con1", "console", "communism", "a" * 100, "剑" * 73, "name.preview.v2",
    ],
)  # fmt: skip
def test_allowed(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("character", FORBIDDEN)
@pytest.mark.parametrize("pattern", ["{}", "a{}", "{}a", "a{}b"])
def test_forbidden_characters_are_named(pattern: str, character: str) -> None:
    with pytest.raises(InvalidName) as caught:
        check_name(pattern.replace("{}", character))
    assert f"'{character}'" in caught.value.message
    assert caught.value.message.endswith(".")


def test_forbidden_are_those_of_the_design() -> None:
    assert set(FORBIDDEN) == set('/\\()[]{}<>:|,"*?')


@pytest.mark.parametrize("character", ["\0", "\n", "\t", "\x1b", "\x7f", "\x85", "\u2028", "\u202e", "\u2066", "\ud800"])
def test_control_characters_are_named(character: str) -> None:
    with pytest.raises(InvalidName, match=rf"U\+{ord(character):04X}"):
        check_name(f"a{character}b")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("a" * 101, "101 characters"),
        ("剑" * 74, f"222 bytes in UTF-8; at most {MAX_BYTES}"),
        (" sword", "begins or ends with a space"),
        ("sword ", "begins or ends with a space"),
        ("\u3000sword", "begins or ends with a space"),
        (".sword", "begins with '.'"),
        ("..", "begins with '.'"),
        ("-sword", "begins with '-'"),
        ("sword.", "ends with a period"),
        ("sword.preview", "preview images"),
        ("sword.PREVIEW", "preview images"),
        ("con", "reserved by Windows"),
        ("NUL", "reserved by Windows"),
        ("Com1", "reserved by Windows"),
        ("lpt9.v2", "reserved by Windows"),
        ("aux .x", "reserved by Windows"),
        ("COM²", "reserved by Windows"),
        (None, "must be text"),
        (7, "must be text"),
    ],
)
def test_refused_with_the_reason(name: object, reason: str) -> None:
    with pytest.raises(InvalidName) as caught:
        check_name(name)
    assert reason in caught.value.message
    assert caught.value.message.count("\n") == 0


def test_path_stays_inside(tmp_path: Path) -> None:
    folder = tmp_path / "embeddings"
    folder.mkdir()
    assert path_for(folder, "sword", ".pt") == folder / "sword.pt"
    (tmp_path / "secret.pt").write_bytes(b"keep")
    (folder / "link.pt").symlink_to(tmp_path / "secret.pt")
    with pytest.raises(InvalidName, match="outside"):
        path_for(folder, "link", ".pt")
    with pytest.raises(InvalidName, match="'/'"):
        path_for(folder, "../secret", ".pt")


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def test_unicode_forms_of_one_name() -> None:
    assert folded(COMPOSED) == folded(DECOMPOSED.upper())
    assert is_spelled_like(COMPOSED, DECOMPOSED)
    assert not is_spelled_like(COMPOSED, COMPOSED)
    assert not is_spelled_like(COMPOSED, "cafe")


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("CAT", 'Did you mean "Cat"?'),
        ("my-cat-1", 'Did you mean "my-cat"?'),
        ("CAF\u00c9", f'Did you mean "{DECOMPOSED}"?'),
        ("x", ""),
    ],
)
def test_did_you_mean(typed: str, sentence: str) -> None:
    assert did_you_mean(typed, ["my-cat", "Cat", DECOMPOSED]) == sentence
