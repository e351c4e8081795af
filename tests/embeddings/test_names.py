"""Names: what is refused, with one sentence that names the reason, and what is warned of."""

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
    warnings_for_name,
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
        ("sword.", "ends with '.'"),
        ("sword.preview", "preview picture"),
        ("sword.PREVIEW", "preview picture"),
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


def no_words(text: str) -> bool:
    return False


def test_warns_of_a_known_word() -> None:
    asked: list[str] = []

    def is_tree(text: str) -> bool:
        asked.append(text)
        return text == "tree"

    (warning,) = warnings_for_name("tree", [], is_tree)
    assert '"tree"' in warning
    assert warnings_for_name("sksword", [], is_tree) == []
    assert asked == ["tree", "sksword"]


def test_warns_of_names_within_names() -> None:
    warnings = warnings_for_name("Art-deco", ["art", "my art-deco lamp", "decor", "Art-deco"], no_words)
    assert warnings == [
        '"Art-deco" contains the name of the embedding "art".',
        '"Art-deco" is contained in the name of the embedding "my art-deco lamp".',
    ]


def test_warns_of_a_name_that_differs_in_case_only() -> None:
    assert warnings_for_name("Sword", ["sword"], no_words) == ['"Sword" contains the name of the embedding "sword".']


@pytest.mark.parametrize(("name", "count"), [("AND", 1), ("you AND me", 1), ("BREAK", 1), ("BRAND", 0), ("and", 0)])
def test_warns_of_prompt_keywords(name: str, count: int) -> None:
    assert len(warnings_for_name(name, [], no_words)) == count


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def test_unicode_forms_of_one_name() -> None:
    assert folded(COMPOSED) == folded(DECOMPOSED.upper())
    assert is_spelled_like(COMPOSED, DECOMPOSED)
    assert not is_spelled_like(COMPOSED, COMPOSED)
    assert not is_spelled_like(COMPOSED, "cafe")
    (warning,) = [one for one in warnings_for_name(COMPOSED, [DECOMPOSED], no_words) if "Unicode" in one]
    assert "prompts cannot tell the two apart" in warning


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
