"""Every verb, in text and JSON, over embeddings and checkpoints of every family: sentences, never a traceback."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import torch

from tests.words import vocabulary_host
from train_embedding.cli import main
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import write_embedding
from train_embedding.hosts import standalone
from train_embedding.testing import FakeHost

SD1, SD2, SDXL = {"clip_l": 768}, {"clip_h": 1024}, {"clip_l": 768, "clip_g": 1280}
FAMILIES: dict[str, dict[str, int]] = {
    "sd1": SD1, "sd2": SD2, "sdxl": SDXL, "custom": {"clip_l": 64}, "custom-pair": {"clip_l": 12, "clip_g": 20},
    "half-of-sdxl": {"clip_g": 1280},
}  # fmt: skip
LOADED: dict[str, dict[str, int]] = {"sd1": SD1, "sdxl": SDXL, "custom": FAMILIES["custom"], "none": {}}
MANY = 257
"Vectors that are too many to compare."

VERBS = [
    ["list", "--warnings"],
    ["inspect", "{name}", "--top", "0", "--neighbours", "3", "--heat-map", "map.png"],
    ["inspect", "{name}", "--text", "red", "--top", "1"],
    ["tokens", "a {name} of red"],
    ["merge", "'{name}' + 0.5 * \"red\""],
    ["merge", "norm('{name}')", "--name", "made-{name}"],
    ["merge", "reduce('{name}', 1) & '{name}'"],
    ["convert", "{name}", "--to", "sdxl"],
    ["convert", "{name}", "--to", "safetensors", "--name", "converted-{name}"],
    ["convert", "{name}", "--to", "png", "--name", "drawn-{name}"],
    ["create", "new-{name}", "--init-text", "{name}", "--start", "embedding"],
    ["notes", "{name}", "--description", "of {name}"],
    ["export", "{name}", "out"],
    ["copy", "{name}", "copy-of-{name}"],
    ["rename", "copy-of-{name}", "renamed-{name}"],
    ["delete", "renamed-{name}"],
    ["trash"],
    ["import", "out/{name}.safetensors", "--folder", "imported", "--overwrite"],
    ["sanitize", "{name}"],
    ["train", "{name}", "."],
]  # fmt: skip
WITH_JSON = ("list", "inspect", "tokens", "merge", "convert", "create", "notes", "trash", "import")
ENDINGS = (0, 2, 3, 4, 6, 7, 10)
"Exit codes of a verb that did it, or said in a sentence why not."


@pytest.mark.parametrize("loaded", [pytest.param(name, marks=[] if name == "custom" else pytest.mark.slow) for name in LOADED])
def test_every_verb_over_every_family(loaded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = _host(tmp_path, LOADED[loaded])
    monkeypatch.setattr(standalone, "StandaloneHost", lambda *_arguments: host)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    done = 0
    failures: list[str] = []
    for name in (*FAMILIES, "many"):
        for verb in VERBS:
            if verb[0] == "train" and FAMILIES.get(name) == LOADED[loaded]:
                continue  # this host has no UNet
            for arguments in _variants([part.format(name=name) for part in verb]):
                code, problem = _outcome(arguments)
                done += code == 0
                failures += [f"{' '.join(arguments)}: {problem}"] if problem else []
    assert not failures, "\n".join(failures)
    assert done > 100, "most verbs need no checkpoint of the family"


@pytest.mark.parametrize("loaded", ["sdxl", "custom", "none"])
def test_a_table_without_nearest_tokens_and_why(loaded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = _host(tmp_path, LOADED[loaded])
    monkeypatch.setattr(standalone, "StandaloneHost", lambda *_arguments: host)
    for verb in (["inspect", "sd1"], ["merge", "sd1"]):
        said = StringIO()
        with redirect_stdout(said):
            assert main(verb) == 0
        lines = [line for line in said.getvalue().splitlines() if line]
        with_words = loaded == "sdxl"  # whose first text encoder is SD1's
        assert any(line.split()[:4] == ["vector", "norm", "min", "max"] for line in lines)
        assert any("nearest tokens" in line for line in lines if line.startswith("vector")) == with_words
        assert sum(line.startswith("There are no nearest tokens") for line in lines) == (not with_words)


def _host(folder: Path, widths: dict[str, int]) -> FakeHost:
    host = vocabulary_host(folder, widths) if widths else FakeHost(folder, {})
    embeddings = folder / "embeddings"
    for number, (name, encoders) in enumerate(FAMILIES.items(), start=1):
        generator = torch.Generator().manual_seed(number)
        vectors = {key: torch.randn(number, width, generator=generator) for key, width in encoders.items()}
        write_embedding(Embedding(name, vectors, step=number, metadata={"init_text": "cat"}), embeddings / f"{name}.safetensors")
    (embeddings / "damaged.pt").write_bytes(b"no embedding")
    write_embedding(Embedding("many", {"clip_l": torch.ones(MANY, 768)}), embeddings / "many.pt")
    host.reload_embeddings()
    return host


def _variants(arguments: list[str]) -> Iterator[list[str]]:
    yield arguments
    if arguments[0] in WITH_JSON:
        yield [*arguments, "--overwrite", "--json"] if arguments[0] in ("create", "convert") else [*arguments, "--json"]


def _outcome(arguments: list[str]) -> tuple[int | None, str]:
    """The exit code, and what is wrong with how the verb ended; nothing if it did its work or said why not in one line."""
    said, complained = StringIO(), StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(complained):
            code = main(arguments)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - all failures are collected
        return None, "".join(traceback.format_exception_only(error)).strip()
    if code not in ENDINGS:
        return code, f"ended with {code}: {complained.getvalue()}"
    if code and arguments[0] != "import" and not complained.getvalue().splitlines()[-1].startswith("error: "):
        return code, "failed without a sentence"
    if not code and arguments[-1] == "--json":
        json.loads(said.getvalue())
    return code, ""
