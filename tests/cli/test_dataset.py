"""`train-embedding dataset` does what the tab and the API do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from train_embedding.cli import main


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    made: list[str] = []
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.linear_gradient("L").resize((64, 64)).convert("RGB").rotate(90 if name == "a" else 0).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text(f"a {colour} square")
        made += [str(tmp_path / f"{name}.png"), str(tmp_path / f"{name}.txt")]
    return made


def test_a_dataset_from_its_first_image_to_the_trash(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: str) -> str:
        assert main(["dataset", *words, "--data", str(tmp_path / "data")]) == 0
        return capsys.readouterr().out

    folder = tmp_path / "data" / "datasets" / "squares"
    assert run("create", "squares", *files[:2]) == f"Added 2 files to {folder}\n"
    run("add", "squares", *files[2:])
    assert json.loads(run("list", "--json")) == [{"name": "squares", "folder": str(folder), "images": 2}]
    run("caption", "squares", "a.png", "--set", "my-square, red")
    assert run("caption", "squares", "--prefix", "new, ") == "Changed 2 captions.\n"
    assert (folder / "a.txt").read_text() == "new, my-square, red"
    assert run("caption", "squares", "--undo") == "Changed 2 captions.\n"
    assert json.loads(run("caption", "squares", "--tags", "--json"))[0] == {"tag": "a blue square", "images": 1}
    assert "my-square, red" in run("caption", "squares")
    assert run("exclude", "squares", "b.png") == "Training leaves out 1 image.\n"
    found = json.loads(run("check", "squares", "--json", "--width", "64", "--height", "64", "--no-buckets"))
    assert (found["images"], found["used"], found["measured"]) == (2, 1, 2)
    assert "Excluded from training." in run("check", "squares", "--template", "[name], [filewords]")
    run("include", "squares", "b.png")
    assert run("remove", "squares", "b.png") == "Moved 2 files to the trash.\n"
    assert json.loads(run("restore", "squares", "--list", "--json"))[0]["files"] == ["b.png", "b.txt"]
    assert run("restore", "squares") == "Restored 2 files.\n"
    assert run("delete", "squares") == "squares is in the trash.\n"
    assert not folder.exists()


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", "check", "nowhere", "--data", str(tmp_path)]) == 3
    assert main(["dataset", "create", "a/b", "--data", str(tmp_path)]) == 2
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == ["error", "error"]
