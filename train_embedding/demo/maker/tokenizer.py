"""CLIP's tokenizer files, made from the vocabulary in the package `open_clip_torch`."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

_VOCABULARY = "open_clip/bpe_simple_vocab_16e6.txt.gz"
_MERGES = 49152 - 256 - 2


def write_tokenizer(wheel: Path, folder: Path) -> None:
    """Write vocab.json (49,408 tokens), merges.txt and tokenizer_config.json.

    The order of the tokens is that of CLIP (Radford et al. 2021): bytes, bytes at the end of a word, one token per merge, start
    and end of text.

    Args:
        wheel: A wheel of open_clip_torch, from `pip download --no-deps open_clip_torch`.
        folder: Folder for the files.
    """
    with zipfile.ZipFile(wheel) as archive:
        lines = gzip.decompress(archive.read(_VOCABULARY)).decode().split("\n")
    merges = lines[1 : _MERGES + 1]
    characters = list(_byte_characters())
    tokens = characters + [character + "</w>" for character in characters]
    tokens += ["".join(merge.split()) for merge in merges] + ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: index for index, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "do_lower_case": True,
        "model_max_length": 77,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def _byte_characters() -> str:
    """Return a printable character for each byte, printable bytes first: the byte itself, or a character from 256 upwards."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return "".join(map(chr, printable)) + "".join(chr(256 + index) for index in range(256 - len(printable)))
