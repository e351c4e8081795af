"""`train-embedding presets`, and training with a preset of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.run_folders import FIRST, stored_run
from train_embedding.cli import main, parser
from train_embedding.cli.train import spec_of
from train_embedding.errors import InvalidSpec
from train_embedding.services import Services
from train_embedding.testing import FakeHost


def output(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(["presets", *arguments]) == code
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_a_life(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "You have no presets" in output(capsys, "list")
    saved = output(capsys, "save", "my style", "--preset", "Quality", "--steps", "300", "--description", "for pencil drawings")
    assert saved == "Saved my style, based on Quality: --steps 300\n"
    assert output(capsys, "list").splitlines()[1].split() == ["my", "style", "Quality", "--steps", "300"]
    assert output(capsys, "show", "my style").splitlines() == ["my style, based on Quality", "for pencil drawings", "--steps 300"]
    assert json.loads(output(capsys, "show", "my style", "--json"))["options"] == {"steps": 300}
    assert output(capsys, "rename", "my style", "pencil") == "Renamed my style to pencil.\n"
    assert output(capsys, "export", "pencil", str(tmp_path)) == f"Exported pencil: {tmp_path / 'pencil.json'}\n"
    assert "already exists" in output(capsys, "export", "pencil", str(tmp_path), code=4)
    trash_id = output(capsys, "delete", "pencil").split()[-1].rstrip(".")
    assert output(capsys, "import", str(tmp_path / "pencil.json")) == "Imported pencil.\n"
    assert "There is already a preset" in output(capsys, "restore", trash_id, code=4)
    output(capsys, "rename", "pencil", "theirs")
    assert output(capsys, "restore", trash_id) == "Restored pencil.\n"
    assert [one["name"] for one in json.loads(output(capsys, "list", "--json"))] == ["pencil", "theirs"]


def test_settings_of_a_run_with_changes(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored_run(FakeHost(data.resolve()), FIRST, {"batch_size": 7, "seed": 3})
    saved = output(capsys, "save", "again", "--run", FIRST, "--seed", "4")
    assert saved == "Saved again, based on Fast: --batch-size 7 --seed 4\n"


def test_a_kind_sets_captions_and_previews_unless_they_are_given(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output(capsys, "save", "bad", "--kind", "negative", "--preview-prompt", "a dog")
    options = json.loads(output(capsys, "show", "bad", "--json"))["options"]
    assert (options["preview_negative_prompt"], options["preview_prompt"]) == ("[name]", "a dog")
    assert "[name], [filewords]" in options["template"]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("save", "a"), 2, "There are no settings to save"),
        (("save", "a", "--steps", "0"), 2, '"--steps" is 0'),
        (("save", "Fast", "--steps", "3"), 2, "is a built-in preset"),
        (("show", "none"), 3, "no preset called"),
        (("import", "none.json"), 3, "does not exist"),
    ],
)
def test_what_cannot_be_done_is_said(
    data: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    assert sentence in output(capsys, *arguments, code=code)


def test_train_takes_a_preset_of_ones_own(fake_host: FakeHost) -> None:
    services = Services(fake_host)
    services.presets.save("my style", {"preset": "Quality", "steps": 300})
    spec = spec_of(parser().parse_args(["train", "cat", "/images", "--preset", "my style", "--batch-size", "3"]), services)
    assert (spec.preset, spec.steps, spec.batch_size) == ("Quality", 300, 3)
    with pytest.raises(InvalidSpec, match='There is no preset "other"'):
        spec_of(parser().parse_args(["train", "cat", "/images", "--preset", "other"]), services)
