"""`train-embedding runs steps`, `runs compare`, `runs use-step` and `compare`."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.run_folders import FIRST, stored_run
from train_embedding.cli import main
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import read_embedding, write_embedding
from train_embedding.services.training.kept_steps import KeptSteps
from train_embedding.testing import FakeHost

SAMPLES = Path(__file__).parents[2] / "train_embedding" / "demo" / "samples" / "lime" / "train"


def embedding(value: float, step: int) -> Embedding:
    return Embedding("my-cat", {"clip_l": torch.full((2, 768), value)}, step, "fake", "0123456789")


@pytest.fixture
def file(data: Path) -> Path:
    """The embedding of a run that has kept the start and two steps."""
    host = FakeHost(data)
    state = stored_run(host, evaluations=((0, 1.0, 0.5), (20, 0.9, 0.45)), saved_step=40)
    write_embedding(embedding(0.0, 0), state.folder / "start.pt")
    for step in (20, 40):
        KeptSteps(state.folder).keep(step, embedding(step / 100, step))
    made = host.info().embeddings_folder / "my-cat.pt"
    write_embedding(embedding(0.4, 40), made)
    return made


def pixels(file: Path) -> bytes:
    image = Image.open(io.BytesIO(file.read_bytes()))
    assert image.size == (64, 64)
    return image.convert("RGB").tobytes()


def output(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(arguments) == code
    captured = capsys.readouterr()
    return captured.out + (captured.err if code else "")


def test_steps_are_listed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = output(capsys, "runs", "steps", FIRST).splitlines()
    assert [line.split() for line in lines] == [["step", "loss"], ["0", "0.5000"], ["20", "0.4500"], ["40", "-", "in", "use"]]
    assert json.loads(output(capsys, "runs", "steps", FIRST, "--json"))[1] == {"step": 20, "loss": 0.45, "in_use": False}


def test_steps_are_compared_in_one_image(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = tmp_path / "grid.png"
    options = ("--prompts", "a [name]", "[name]", "--size", "64x32", "--seed", "5", "--output", str(grid))
    arguments = ("runs", "compare", FIRST, *options)
    assert output(capsys, *arguments, "--steps", "0,40") == f"Saved to {grid}\n"
    with Image.open(grid) as image:
        assert "Seed: 5, Size: 64x32" in image.info["parameters"]
    assert "already exists" in output(capsys, *arguments, code=4)
    shown = json.loads(output(capsys, *arguments, "--overwrite", "--json"))
    assert (shown["status"], shown["done"], [row["step"] for row in shown["rows"]]) == ("finished", 6, [0, 20, 40])


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--steps", "7"), 2, "The vectors of these steps were not kept: 7"),
        (("--steps", "x"), 2, '"x" is not a step'),
        (("--seed", "-1"), 2, "--seed is -1"),
        (("--output", "grid.jpg"), 2, "is not the name of a PNG file"),
    ],
)
def test_what_cannot_be_drawn(
    file: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    assert sentence in output(capsys, "runs", "compare", FIRST, "--output", "grid.png", *arguments, code=code)
    assert not Path("grid.png").exists()


def test_a_step_is_used_and_undone(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = file.read_bytes()
    saved, kept = output(capsys, "runs", "use-step", FIRST, "20").splitlines()
    assert saved == f"Saved step 20 to {file}"
    assert read_embedding(file).step == 20
    undo = kept.partition("train-embedding ")[2].split()
    assert output(capsys, *undo) == f"Restored {file}\n"
    assert file.read_bytes() == before
    assert "Give either a step or --undo" in output(capsys, "runs", "use-step", FIRST, code=2)
    assert "were not kept" in output(capsys, "runs", "use-step", FIRST, "7", code=3)


def test_embeddings_are_compared(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = tmp_path / "grid.png"
    assert output(capsys, "compare", "my-cat", "--prompts", "a [name]", "--output", str(grid)) == f"Saved to {grid}\n"
    assert grid.read_bytes()[:4] == b"\x89PNG"
    assert 'There is no embedding "dog"' in output(capsys, "compare", "dog", "--output", "other.png", code=3)


def test_an_image_of_a_step_is_bit_identical_to_its_preview(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    output(capsys, "create", "lime", "--init-text", "green")
    previews = (
        "--preview-every",
        "2",
        "--preview-steps",
        "3",
        "--preview-prompt",
        "a [name] star\n[name]",
        "--preview-seed",
        "4",
    )
    training = ("--steps", "4", "--batch-size", "1", "--eval-every", "2", "--no-early-stopping", "--no-choose-start-words")
    state = json.loads(output(capsys, "train", "lime", str(SAMPLES), *training, *previews, "--json"))
    grid = json.loads(output(capsys, "runs", "compare", state["id"], "--output", "grid.png", "--json"))
    assert [row["step"] for row in grid["rows"]] == [0, 2, 4]
    run = Path(state["folder"])
    for row in grid["rows"]:
        for number, key in enumerate(row["images"]):
            suffix = f"-{number + 1}" if number else ""
            preview, cell = run / "previews" / f"{row['step']:07d}{suffix}.png", run / "comparison" / f"{key}.png"
            assert pixels(cell) == pixels(preview), (row["step"], number)
    assert len({pixels(file) for file in (run / "comparison").glob("*.png")}) == 6  # no two steps or prompts look the same
