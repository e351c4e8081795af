"""The commands that inspect embeddings and make new ones, over a host that knows words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.words import put, vocabulary_host
from train_embedding.cli import main
from train_embedding.hosts import standalone
from train_embedding.testing import FakeHost

Output = pytest.CaptureFixture[str]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    host = vocabulary_host(tmp_path, {"clip_l": 12})
    put(host, "my-cat", {"clip_l": torch.eye(12)[:2] + 0.5}, step=40, checkpoint_name="demo")
    monkeypatch.setattr(standalone, "StandaloneHost", lambda *_arguments: host)
    monkeypatch.chdir(tmp_path)
    return host


def size_of(picture: str) -> tuple[int, int]:
    with Image.open(picture) as opened:
        return opened.size


def test_inspect(host: FakeHost, capsys: Output) -> None:
    assert main(["inspect", "my-cat", "--top", "2", "--text", "red", "--neighbours", "1", "--heat-map", "map.png"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "my-cat: 2 vectors for custom, trained for 40 steps on demo"
    assert lines[1] == 'The column "similarity" is the cosine with the text "red".'
    assert lines[3].startswith("clip_l, width 12, norm of the vocabulary ")
    assert lines[4].split()[:5] == ["vector", "norm", "min", "max", "similarity"]
    assert lines[5].split()[:4] == ["0", "2.236", "0.500", "1.500"]
    assert len(lines[5].split(",")) == 2
    assert size_of("map.png") == (300, 300)


def test_inspect_as_json(host: FakeHost, capsys: Output) -> None:
    assert main(["inspect", "my-cat", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["encoders"][0]["vectors"][0]["nearest"]) == 5
    assert main(["inspect", "none"]) == 3
    assert main(["inspect", "my-cat", "--top", "-1"]) == 2
    assert main(["inspect", "my-cat", "--heat-map", "map.cat"]) == 2
    assert main(["inspect", "my-cat", "--heat-map", "none/map.png"]) == 8


def test_inspect_many_vectors(host: FakeHost, capsys: Output) -> None:
    put(host, "many", {"clip_l": torch.ones(257, 12)})
    assert main(["inspect", "many"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("shown for at most 256.")
    assert main(["inspect", "many", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["encoders"][0]["similarity"] == []
    assert main(["inspect", "many", "--heat-map", "map.png"]) == 3
    assert 'There is no heat map of "many"' in capsys.readouterr().err


def test_tokens(host: FakeHost, capsys: Output) -> None:
    assert main(["tokens", "a (red:1.2) my-cat <lora:x:1> AND b"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Part with weight 1: a (red:1.2) my-cat"
    assert lines[3].split() == ["0", "1", "736", "red", "1.200"]
    assert lines[4].split() == ["0", "2", "-", "my-cat", "1.000", "my-cat,", "vector", "0"]
    assert "4 of 75 tokens used, 71 left." in lines
    assert "Extra networks, not part of the text: <lora:x:1>" in lines
    assert main(["tokens", "a", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["count"] == 1
    assert main(["tokens", "(a:1..2)"]) == 2


def test_merge(host: FakeHost, capsys: Output) -> None:
    assert main(["merge", 'my-cat + 0.5 * "red"', "--name", "zork", "--preview", "zork.png", "--prompt", "a [name]"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "zork: 2 vectors for custom on demo"
    assert lines[1] == 'made from: my-cat + 0.5 * "red"'
    assert lines[-1] == f"Saved zork: {host.info().embeddings_folder / 'zork.pt'}"
    assert size_of("zork.png") == (64, 64)
    assert host.requests[0].prompt == "a zork"
    assert main(["merge", "my-cat", "--name", "zork", "--preview", "late.png"]) == 4
    assert not Path("late.png").exists(), "refused before anything is drawn"
    assert main(["merge", "my-cat", "--name", "zork", "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["entry"]["vectors"] == 2


def test_merge_without_a_name_saves_nothing(host: FakeHost, capsys: Output) -> None:
    assert main(["merge", "2 * my-cat"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Not saved. To save the result, add --name."
    assert len(list(host.info().embeddings_folder.iterdir())) == 1


def test_a_mistake_is_pointed_at(host: FakeHost, capsys: Output) -> None:
    assert main(["merge", "my-cat + * 2", "--name", "x"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["my-cat + * 2", "         ^"]
    assert lines[2].startswith('error: Column 10: unexpected "*".')
    assert len(lines) == 3


def test_convert(host: FakeHost, capsys: Output) -> None:
    assert main(["convert", "my-cat", "--to", "pt", "--name", "zork"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"Saved zork: {host.info().embeddings_folder / 'zork.pt'}"
    assert main(["convert", "my-cat", "--to", "pt", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "my-cat"
    assert main(["convert", "my-cat", "--to", "sdxl"]) == 4
