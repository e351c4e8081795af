"""Captions: what they are made of, and where the embedding stands in them."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.engine.data.captions import MAX_CAPTION_BYTES, Captions, batch_captions, fill_template, load_caption
from train_embedding.engine.prompts.attention_syntax import escape_prompt
from train_embedding.engine.prompts.embedding_names import NAME, mark_name
from train_embedding.engine.prompts.encoding import PromptTokenizer, TokenizedPrompt
from train_embedding.engine.prompts.splicing import PromptBatch, VectorRows, batch_prompts, tokenize_pieces
from train_embedding.engine.prompts.tokenizer import token_ids
from train_embedding.errors import UnreadableFile

HERE = VectorRows(0, 2)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("a red star.png", "a red star"),
        ("12-a_red_star.png", "a red star"),
        ("0003 - cat.jpg", "- cat"),
        ("00017.png", ""),
        ("cat 2.png", "cat 2"),
        ("_cat_.png", "cat"),
        ("{3F2504E0|4F89}.png", r"\{3F2504E0\|4F89\}"),
    ],
)
def test_words_from_the_file_name(tmp_path: Path, file: str, words: str) -> None:
    assert load_caption(tmp_path / file) == words


def test_words_from_the_caption_file(tmp_path: Path) -> None:
    (tmp_path / "cat.txt").write_bytes("\ufeffa black cat,\r\n\ton a  剣 \n".encode())
    assert load_caption(tmp_path / "cat.png") == "a black cat, on a 剣"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_encodings_that_are_certain(tmp_path: Path, encoding: str) -> None:
    mark = "\ufeff" if encoding.endswith(("le", "be")) else ""
    (tmp_path / "cat.txt").write_bytes(f"{mark}a red ball, 剣".encode(encoding))
    assert load_caption(tmp_path / "cat.png") == "a red ball, 剣"


def test_the_caption_files_of_editors(tmp_path: Path) -> None:
    (tmp_path / "cat.txt").write_bytes("a red ball".encode("utf-16-le"))
    with pytest.raises(UnreadableFile, match=r'"cat\.txt" is not text, or its encoding is unknown\. Save it as UTF-8\.'):
        load_caption(tmp_path / "cat.png")
    (tmp_path / "cat.txt").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    with pytest.raises(UnreadableFile, match=r'"cat\.txt" is a Git LFS pointer instead of the file'):
        load_caption(tmp_path / "cat.png")
    (tmp_path / "cat.txt").write_bytes(b"<!DOCTYPE html><html>" + b"x" * MAX_CAPTION_BYTES)
    with pytest.raises(UnreadableFile, match=r'"cat\.txt" is a web page'):
        load_caption(tmp_path / "cat.png")


def test_an_empty_caption_file_counts(tmp_path: Path) -> None:
    (tmp_path / "cat.txt").touch()
    assert load_caption(tmp_path / "cat.png") == ""


def test_caption_files_that_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "cat.txt"
    file.write_bytes(b"x" * MAX_CAPTION_BYTES)
    assert len(load_caption(tmp_path / "cat.png")) == MAX_CAPTION_BYTES
    file.write_bytes(b"x" * (MAX_CAPTION_BYTES + 1))
    with pytest.raises(UnreadableFile, match=r'"cat\.txt" is larger than 64 KB'):
        load_caption(tmp_path / "cat.png")
    file.write_bytes(b"caf\xe9")
    with pytest.raises(UnreadableFile, match=r'"cat\.txt" is not UTF-8'):
        load_caption(tmp_path / "cat.png")
    file.write_text("a {black|white cat")
    with pytest.raises(UnreadableFile, match=r'"cat\.txt" cannot be used: A "\{" has no matching "\}"\. For a literal'):
        load_caption(tmp_path / "cat.png")


def test_a_caption_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cat.txt").write_text("a cat")

    def refuse(*_arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UnreadableFile, match=r'"cat\.txt" cannot be read: Permission denied'):
        load_caption(tmp_path / "cat.png")


def filled(line: str, words: str, *, shuffle: bool = False, dropout: float = 0.0, keep: int = 0, seed: int = 0) -> str:
    return fill_template(line, words, rng=random.Random(seed), shuffle=shuffle, dropout=dropout, keep=keep)


def test_filling_a_template() -> None:
    assert filled("a photo of [name], [filewords]", "red,  big") == "a photo of [name], red,  big"
    assert filled("a photo of [name]", "red") == "a photo of [name]"
    assert filled("[filewords]", "a [name] star") == "a [name] star"


def test_a_caption_that_names_the_embedding_nowhere_gets_it_in_front() -> None:
    assert filled("a photo of [filewords]", "a star") == "[name], a photo of a star"


def test_dropout_drops_tags_and_never_the_name() -> None:
    kept = [filled("[filewords]", "red, a [name] star, big", dropout=0.5, seed=seed).split(", ") for seed in range(400)]
    assert all("a [name] star" in tags for tags in kept)
    for tag in ("red", "big"):
        assert 150 < sum(tag in tags for tags in kept) < 250
    assert filled("[filewords]", "red, a [name] star, big", dropout=1.0) == "a [name] star"
    assert filled("[filewords]", "red, big", dropout=1.0) == "[name], "


def test_dropout_leaves_the_template_itself_alone() -> None:
    assert filled("[name], oil, [filewords], paint", "red, big", dropout=1.0) == "[name], oil, , paint"


def test_shuffled_tags() -> None:
    seen = {filled("[name]: [filewords]", "a, b, c", shuffle=True, seed=seed) for seed in range(50)}
    assert len(seen) == 6
    assert all(sorted(text.removeprefix("[name]: ").split(", ")) == ["a", "b", "c"] for text in seen)
    assert filled("[name]: [filewords]", "a, b, c", shuffle=True, seed=3) in seen


def test_tags_in_brackets_stay_together() -> None:
    seen = {filled("[name]: [filewords]", "(a, b:1.2), c, d", shuffle=True, dropout=0.3, seed=seed) for seed in range(100)}
    assert all(text.count("(a, b:1.2)") == text.count("b:1.2") for text in seen)
    assert {"[name]: c, (a, b:1.2), d", "[name]: d, c"} <= seen


def test_the_first_tags_keep_their_place() -> None:
    seen = {filled("[filewords]", "a, b, c, d, [name]", shuffle=True, dropout=0.5, keep=2, seed=seed) for seed in range(200)}
    assert all(text.startswith("a, b") and "[name]" in text for text in seen)
    assert {text.removeprefix("a, b, ") for text in seen} >= {"[name]", "c, [name]", "[name], c", "d, c, [name]"}
    assert filled("[filewords]", "a, b", shuffle=True, dropout=1.0, keep=5) == "[name], a, b"


def test_alternatives_in_lines_and_words() -> None:
    seen = {filled("a {photo|drawing} of [name], [filewords]", "{red, big|blue} star", seed=seed) for seed in range(100)}
    words = ("red, big star", "blue star")
    assert seen == {f"a {kind} of [name], {text}" for kind in ("photo", "drawing") for text in words}


def test_tags_are_those_of_the_drawn_alternative() -> None:
    kept = {filled("[name]: [filewords]", "{red, big|blue}, star", dropout=1.0, keep=2, seed=seed) for seed in range(50)}
    assert kept == {"[name]: red, big", "[name]: blue, star"}


def test_a_weight_that_is_not_a_number_is_found_before_training(tmp_path: Path) -> None:
    (tmp_path / "cat.txt").write_text("a (red:1.2.3) cat")
    with pytest.raises(UnreadableFile, match=r'"cat\.txt" cannot be used: "1\.2\.3" is not a number'):
        load_caption(tmp_path / "cat.png")
    with pytest.raises(UnreadableFile, match=r'file name "\(a:1\.\.2\)" cannot be used as a caption'):
        load_caption(tmp_path / "(a:1..2).png")


def test_an_alternative_without_the_name_gets_it_in_front() -> None:
    assert {filled("{[name]|a star}", "", seed=seed) for seed in range(50)} == {"[name]", "[name], a star"}


def test_words_are_not_read_as_a_line() -> None:
    r"""What an escape gives is text, also between alternatives of the line."""
    assert filled("{[name] [filewords]|[name] [filewords]}", r"\{a\|b\}") == "[name] {a|b}"


SPEC = TrainingSpec(embedding="sword", dataset="x", template=("[name] {one|two} [filewords]", "photo, [name]"))


def said(prompts: PromptBatch) -> list[list[int]]:
    """Token ids of the first chunks, without the start and the filling."""
    return [[int(token) for token in ids[0][1:] if int(token) != 49407] for ids in prompts.ids]


def test_drawn_prompts_follow_from_seed_and_step() -> None:
    captions = Captions(SPEC, ["a Sword", "moon"], 2)
    rows = [said(captions.draw([0, 1], step)) for step in range(1, 40)]
    assert rows == [said(captions.draw([0, 1], step)) for step in range(1, 40)]
    assert rows != [said(Captions(replace(SPEC, seed=1), ["a Sword", "moon"], 2).draw([0, 1], step)) for step in range(1, 40)]
    assert {len({tuple(row[picture]) for row in rows}) for picture in (0, 1)} == {3}
    assert captions.draw([0], 3).slots.max() == 1


def test_fixed_prompts_are_the_first_line_with_all_tags() -> None:
    spec = replace(SPEC, shuffle_caption=True, caption_tag_dropout_rate=1.0)
    fixed = said(Captions(spec, ["moon, sun", "star"], 1).for_evaluation([0, 1], 5))
    ends = [token_ids(text) for text in ("moon, sun", "star")]
    assert [row[-len(end) :] for row, end in zip(fixed, ends, strict=True)] == ends
    assert all(row[0] == 0 and row[1] in (*token_ids("one"), *token_ids("two")) for row in fixed)
    assert fixed == said(Captions(spec, ["moon, sun", "star"], 1).for_evaluation([0, 1], 5))


def same(one: PromptBatch, pieces: list[str | VectorRows]) -> bool:
    """Whether a prompt is these texts and vectors, and nothing in it weighs."""
    other = batch_prompts([tokenize_pieces(pieces)])
    return one.weights is None and torch.equal(one.ids, other.ids) and torch.equal(one.slots, other.slots)


def caption(text: str, name: str) -> PromptBatch:
    return batch_captions([text], name, HERE)


def prompt(text: str, tables: list[tuple[str, VectorRows]]) -> list[tuple[int, int]]:
    reading = PromptTokenizer(tables).tokenize(text)
    assert isinstance(reading, TokenizedPrompt)
    return [token for chunk in reading.tokens for token in chunk]


def tokens_of(pieces: list[str | VectorRows]) -> list[tuple[int, int]]:
    return [token for chunk in tokenize_pieces(pieces) for token in chunk]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a photo of [name] at night", ["a photo of ", HERE, " at night"]),
        ("[name]", [HERE]),
        ("a[name]b", ["a", HERE, "b"]),
        ("[name] [name]", [HERE, HERE]),
        ("an art, ART by Art.", ["an ", HERE, ", ", HERE, " by ", HERE, "."]),
        ("artstation, smart, art-deco, pop-art, art_1", ["artstation, smart, art-deco, pop-art, art_1"]),
        ("", []),
    ],
)
def test_the_name_as_a_whole_word(text: str, pieces: list[str | VectorRows]) -> None:
    assert same(caption(text, "art"), pieces)


@pytest.mark.parametrize("text", ["(art:1.2)", "([name]:1.2)"])
def test_a_name_that_weighs(text: str) -> None:
    batch = caption(text, "art")
    assert batch.slots[0, 0, 1:3].tolist() == [0, 1]
    assert batch.weights is not None
    assert batch.weights[0, 0, :4].tolist() == pytest.approx([1, 1.2, 1.2, 1])


@pytest.mark.parametrize("name", ["c++", "a.b", "$100", "x^2", "one two", "剣", "my-style", "name", "filewords"])
def test_names_with_characters_of_regular_expressions(name: str) -> None:
    assert same(caption(f"a {name} b", name), ["a ", HERE, " b"])
    assert prompt(f"a {name} b", [(name, HERE)]) == tokens_of(["a ", HERE, " b"])
    assert same(caption("a [name] b", name), ["a ", HERE, " b"])


@pytest.mark.parametrize("name", ["[name", "cat (big)", "a[b]c"])
def test_names_with_brackets(name: str) -> None:
    """In a caption they are found as they are written; in a prompt, as in the WebUI, where the brackets are escaped."""
    assert same(caption(f"a {name} b", name), ["a ", HERE, " b"])
    assert same(caption("a [name] b", name), ["a ", HERE, " b"])
    assert prompt(f"a {escape_prompt(name)} b", [(name, HERE)]) == tokens_of(["a ", HERE, " b"])


def test_a_dot_in_a_name_is_a_dot() -> None:
    assert same(caption("a axb b", "a.b"), ["a axb b"])
    assert prompt("a axb b", [("a.b", HERE)]) == tokens_of(["a axb b"])


def test_marking_the_name() -> None:
    assert mark_name("a Sword, swordfish, [filewords], [name]", "sword") == "a [name], swordfish, [filewords], [name]"
    assert mark_name("[filewords], a \\1 name", "name") == "[filewords], a \\1 [name]"


def test_longer_names_are_found_first() -> None:
    short, long = VectorRows(0, 1), VectorRows(1, 2)
    for tables in ([("red", short), ("red star", long)], [("red star", long), ("red", short)]):
        assert prompt("a RED star, red", tables) == tokens_of(["a ", long, ", ", short])


def test_prompts_without_names() -> None:
    assert prompt("a star", []) == tokens_of(["a star"])
    assert prompt("  ", []) == []
    assert prompt("a star", [("moon", HERE)]) == tokens_of(["a star"])
    assert prompt(" ", [("moon", HERE)]) == []


@pytest.mark.parametrize(
    ("text", "name"), [("a ſword", "sword"), ("a \u212aelvin", "kelvin"), ("a sİx", "six"), ("a sıx", "six")]
)
def test_letters_that_match_only_when_case_is_ignored(text: str, name: str) -> None:
    """They have another lower case than the letter they match."""
    assert prompt(text, [(name, HERE)]) in (tokens_of(["a ", HERE]), tokens_of([text]))
    assert NAME not in mark_name(text, name).replace("[name]", "")


def test_the_many_names_of_a_large_library() -> None:
    tables = [(f"style {number}", VectorRows(number, 1)) for number in range(2000)]
    assert prompt("a style 1999 style 1", tables) == tokens_of(["a ", VectorRows(1999, 1), VectorRows(1, 1)])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_no_caption_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "cat.txt")
    assert load_caption(tmp_path / "cat.png") == "cat"
