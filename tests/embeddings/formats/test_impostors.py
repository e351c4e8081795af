"""Files that came in place of an embedding are named as what they are, with what to do."""

from __future__ import annotations

import pytest

from train_embedding.embeddings.formats import read_bytes
from train_embedding.embeddings.formats.impostors import describe_impostor
from train_embedding.errors import UnreadableFile

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 3819\n"
PAGE = b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html><body>Sign in</body></html>"
ANSWER = b'{"error": "Unauthorized", "message": "The creator requires you to be logged in"}'


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".safetensors", ".png"])
@pytest.mark.parametrize(
    ("data", "what"),
    [(POINTER, "Git LFS pointer"), (PAGE, "web page"), (b"<html>", "web page"), (ANSWER, "error message")],
    ids=["pointer", "page", "short page", "answer"],
)
def test_it_is_named_with_what_to_do(data: bytes, what: str, suffix: str) -> None:
    with pytest.raises(UnreadableFile) as caught:
        read_bytes(data, f"sword{suffix}")
    assert caught.value.message.startswith(f'"sword{suffix}" is a')
    assert what in caught.value.message
    assert "download" in caught.value.message


@pytest.mark.parametrize("data", [b"", b"{", b"[" * 10_000, b"hello", b'{"a": 1}', b"\x80\x02}.", b"<svg></svg>"], ids=ascii)
def test_anything_else_is_not(data: bytes) -> None:
    assert describe_impostor(data) == ""
