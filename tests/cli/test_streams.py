"""The command line on streams of other encodings, as Windows' code pages are, and on pipes that are closed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import write_embedding

ROOT = Path(__file__).parents[2]
NAME = "猫2"
VERBS = [
    ["--help"], ["train", "--help"], ["merge", "--help"],
    ["create", NAME, "--init-text", "red", "--vectors", "2"],
    ["create", "łódź", "--json"],
    ["list", "--warnings"],
    ["list", "--json"],
    ["inspect", NAME, "--text", "ŝŭ 猫", "--neighbours", "2"],
    ["inspect", NAME, "--json"],
    ["inspect", "wide-剣"],
    ["tokens", f"ŝ {NAME} (猫:1.2)"],
    ["tokens", NAME, "--json"],
    ["merge", f"'{NAME}' + \"猫\""],
    ["merge", f"'{NAME}' + * 2"],
    ["convert", NAME, "--to", "safetensors", "--name", "猫3"],
    ["notes", NAME, "--description", "→ 猫"],
    ["notes", NAME],
    ["export", NAME, "猫.safetensors"],
    ["import", "猫.safetensors", "--name", "猫4"],
    ["import", "猫.safetensors", "--overwrite", "--json"],
    ["rename", "猫4", "猫5"],
    ["copy", "猫5", "猫6"],
    ["delete", "猫6"],
    ["trash"],
    ["trash", "--json"],
    ["sanitize", NAME],
    ["train", NAME, "pictures-猫", "--steps", "2", "--batch-size", "1", "--width", "64", "--height", "64"],
    ["train", "犬", "pictures-猫"],
    ["resume", "猫"],
]  # fmt: skip
FAILING = {"sanitize": 4, "resume": 3, "merge * 2": 2, "train 犬": 3}
SCRIPT = """
import json, sys
from train_embedding.cli import main
codes = []
for arguments in json.loads(sys.argv[1]):
    try:
        codes.append(main(arguments))
    except SystemExit as error:
        codes.append(error.code)
    except Exception as error:
        codes.append(f"{type(error).__name__}: {error}"[:100])
print(json.dumps(codes))
"""


def started(folder: Path, encoding: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "0"}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, check=False)


@pytest.mark.parametrize("encoding", ["cp1252", pytest.param("ascii", marks=pytest.mark.slow)])
def test_every_verb_prints_what_the_encoding_lacks(tmp_path: Path, encoding: str) -> None:
    embeddings = tmp_path / "train-embedding-data" / "embeddings"
    embeddings.mkdir(parents=True)
    write_embedding(Embedding("wide-剣", {"clip_l": torch.ones(2, 768)}), embeddings / "wide-剣.pt")
    (tmp_path / "pictures-猫").mkdir()
    Image.new("RGB", (64, 64), "red").save(tmp_path / "pictures-猫" / "1.png")
    done = started(tmp_path, encoding, "-c", SCRIPT, json.dumps(VERBS))
    assert done.returncode == 0, done.stderr.decode(encoding)[-2000:]
    said = done.stdout.decode(encoding)
    codes = json.loads(said.splitlines()[-1])
    expected = [_expected(verb) for verb in VERBS]
    assert codes == expected, [(verb, code) for verb, code, right in zip(VERBS, codes, expected, strict=True) if code != right]
    assert r"Created \u732b2 with 2 vectors" in said
    title = next(line for line in said.splitlines() if line.startswith("name "))
    (row,) = [line for line in said.splitlines() if line.startswith(r"wide-\u5263  ")]
    assert title.index("family") == row.index("SD1"), "columns are aligned"
    assert (embeddings / "猫2.pt").exists()


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_json_stays_json(tmp_path: Path, encoding: str) -> None:
    name = "猫 👩‍🎨"
    done = started(tmp_path, encoding, "-m", "train_embedding", "create", name, "--json")
    assert (done.returncode, json.loads(done.stdout.decode(encoding))["name"]) == (0, name)


def test_a_closed_pipe_ends_a_verb_quietly(tmp_path: Path) -> None:
    for arguments in (["train", "--help"], ["list"]):
        reading, writing = os.pipe()
        os.close(reading)
        command = [sys.executable, "-m", "train_embedding", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with os.fdopen(writing, "wb") as closed:
            done = subprocess.run(command, cwd=tmp_path, env=environment, stdout=closed, stderr=subprocess.PIPE, check=False)
        assert done.returncode in ((0, 141) if arguments[-1] == "--help" else (141,)), "argparse may not mind"
        assert done.stderr == b""


def _expected(verb: list[str]) -> int:
    return next((code for words, code in FAILING.items() if all(word in " ".join(verb).split() for word in words.split())), 0)
