"""A run's pictures: what is told of them, and where their latents are kept."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.checkpoints import pictures
from tests.training import Trainee, trainee
from train_embedding.engine.data import latents
from train_embedding.errors import NotFound
from train_embedding.services.training import image_report as service
from train_embedding.services.training.image_report import REPORT_FILE, latents_folder

__all__ = ["pictures", "trainee"]


def cached(trainee: Trainee) -> list[Path]:
    return [path for path in latents_folder(trainee.host.info()).rglob("*") if path.is_file()]


def test_the_report(trainee: Trainee) -> None:
    Image.new("RGB", (96, 64), "red").save(trainee.pictures / "4 wide.png")
    (trainee.pictures / "4 wide.txt").write_text("a wide {red|crimson} thing")
    Image.new("RGBA", (64, 64), (255, 0, 0, 255)).save(trainee.pictures / "5 opaque.png")
    cut_out = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    cut_out.paste((0, 0, 255, 255), (0, 0, 32, 64))
    (trainee.pictures / "3_more").mkdir()
    cut_out.save(trainee.pictures / "3_more" / "a.png")
    (trainee.pictures / "bad.png").write_text("x")
    ended = trainee.run(repeats=True)
    report = trainee.services.runs.images(ended.id)
    record = json.loads((ended.folder / REPORT_FILE).read_text(encoding="utf-8"))
    assert record["used"][0]["caption_from"] == {"text": "file name", "key": "file name"}
    assert report == {**record, "used": report["used"], "skipped": report["skipped"]}
    assert report["folder"] == str(trainee.pictures)
    assert report["sizes"] == [{"size": [64, 64], "images": 5}, {"size": [80, 48], "images": 1}]
    assert report["skipped"] == [{"file": "bad.png", "reason": "It is not an image."}]
    used = {one.pop("file"): one for one in report["used"]}
    assert list(used) == ["1 red.png", "2 green.png", "3 blue.png", "4 wide.png", "5 opaque.png", "3_more/a.png"]
    plain = {"size": [64, 64], "crop": None, "trained_at": [64, 64], "mask": None, "mask_counts": False, "repeats": 1}
    assert used["1 red.png"] == {**plain, "caption": "red", "caption_from": "file name"}
    assert used["4 wide.png"] == {
        **plain, "size": [96, 64], "trained_at": [80, 48], "caption": "a wide {red|crimson} thing", "caption_from": "text file",
    }  # fmt: skip
    assert (used["5 opaque.png"]["mask"], used["5 opaque.png"]["mask_counts"]) == ("alpha", False)
    assert [used["3_more/a.png"][name] for name in ("mask", "mask_counts", "repeats")] == ["alpha", True, 3]
    assert ended.notes == (
        '"bad.png" was skipped: It is not an image.',
        "5 of 6 images have no caption file, so their file names are used: 1 red.png, 2 green.png, 3 blue.png and 2 more.",
    )


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are text there")
def test_names_that_are_no_text(trainee: Trainee) -> None:
    """What a zip from elsewhere leaves on Linux."""
    Image.new("RGB", (64, 64), "red").save(trainee.pictures / "4.png")
    for name, content in ((b"caf\xe9.png", (trainee.pictures / "4.png").read_bytes()), (b"br\xe9ak.png", b"x")):
        Path(os.fsdecode(os.fsencode(trainee.pictures) + b"/" + name)).write_bytes(content)
    Image.new("RGB", (64, 64), "red").save(trainee.pictures / "5.png")
    Image.new("L", (32, 64)).save(trainee.pictures / "m.png")
    (trainee.pictures / "5.png").rename(os.fsdecode(os.fsencode(trainee.pictures) + b"/m\xe9.png"))
    (trainee.pictures / "m.png").rename(os.fsdecode(os.fsencode(trainee.pictures) + b"/m\xe9-masklabel.png"))
    ended = trainee.run(steps=2, masks="auto", template=["a photo of [name], [filewords]"])
    assert (ended.status, ended.error) == ("finished", "")
    report = trainee.services.runs.images(ended.id)
    assert report["skipped"][0] == {"file": "br\\udce9ak.png", "reason": "It is not an image."}
    assert report["skipped"][1]["file"] == "m\\udce9.png"
    assert 'mask "m\\udce9-masklabel.png" has a different aspect ratio' in report["skipped"][1]["reason"]
    assert {one["file"]: one["caption"] for one in report["used"]}["caf\\udce9.png"] == "caf?"
    json.dumps(trainee.services.datasets.inspect(trainee.pictures).to_json(), ensure_ascii=False).encode()


def test_a_name_that_leaves_no_room_for_a_mask(trainee: Trainee) -> None:
    Image.new("RGB", (64, 64), "red").save(trainee.pictures / f"{'x' * 245}.png")
    ended = trainee.run(steps=1, masks="auto")
    assert (ended.status, ended.notes) == ("finished", ())
    assert f"{'x' * 245}.png" in {one["file"] for one in trainee.services.runs.images(ended.id)["used"]}


def test_no_report(trainee: Trainee) -> None:
    with pytest.raises(NotFound, match="There is no run"):
        trainee.services.runs.images("x")
    ended = trainee.run()
    for content in ("x", "[]", '{"used": [], "skipped": [{"file": "a.png", "reason": 1}]}'):
        (ended.folder / REPORT_FILE).write_text(content)
        with pytest.raises(NotFound, match="has no report about its images"):
            trainee.services.runs.images(ended.id)


def test_many_skipped_pictures_are_not_all_noted(trainee: Trainee) -> None:
    for number in range(service.MAX_SKIP_NOTES + 2):
        (trainee.pictures / f"bad {number:02}.png").touch()
    ended = trainee.run()
    assert len(ended.notes) == service.MAX_SKIP_NOTES + 1
    assert ended.notes[0] == '"bad 00.png" was skipped: It is empty.'
    assert ended.notes[-1] == "2 more images were skipped; see images.json in the run's folder."
    assert len(trainee.services.runs.images(ended.id)["skipped"]) == service.MAX_SKIP_NOTES + 2


def test_latents_are_kept_beside_the_runs(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    start = trainee.file.read_bytes()
    trainee.run()
    first = trainee.embedding().vectors["clip_l"]
    assert len(cached(trainee)) == 3
    trainee.file.write_bytes(start)
    trainee.host.reload_embeddings()

    def refuse(*_arguments: object) -> None:
        raise AssertionError("the VAE was asked")

    monkeypatch.setattr(latents, "_moments", refuse)
    assert trainee.run().status == "finished"
    assert torch.equal(trainee.embedding().vectors["clip_l"], first)
    shutil.rmtree(latents_folder(trainee.host.info()))  # safe at any time
    monkeypatch.undo()
    assert trainee.run().status == "finished"


def test_no_latents_are_kept_where_that_is_switched_off(trainee: Trainee) -> None:
    trainee.run(cache_latents_to_disk=False)
    assert not latents_folder(trainee.host.info()).exists()


def test_no_room_for_latents_costs_no_more_than_themselves(trainee: Trainee) -> None:
    latents_folder(trainee.host.info()).touch()  # a file where the folder should be
    ended = trainee.run()
    assert (ended.status, ended.step) == ("finished", 4)
    (note,) = ended.notes
    assert note.startswith("Latents are not cached to disk. ")


def test_pictures_that_go_while_they_are_read(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    before = trainee.file.read_bytes()
    real = latents._moments

    def moments(*arguments: object) -> object:
        shutil.rmtree(trainee.pictures, ignore_errors=True)
        return real(*arguments)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(latents, "_moments", moments)
    ended = trainee.run()
    assert (ended.status, ended.error) == ("failed", f'The folder "{trainee.pictures}" no longer exists.')
    assert trainee.file.read_bytes() == before


def test_every_option_of_the_data_trains(trainee: Trainee) -> None:
    Image.new("RGB", (96, 64), "red").save(trainee.pictures / "4 wide.png")
    Image.linear_gradient("L").resize((96, 64)).save(trainee.pictures / "4 wide-masklabel.png")
    for sampling in ("deterministic", "once", "random"):
        values = {"random_flip": True, "batch_size": 3, "latent_sampling": sampling, "shuffle_caption": True, "keep_tokens": 1}
        ended = trainee.run(template="{a|the} [name], [filewords]", unmasked_weight=0.0, **values)
        assert (ended.status, ended.notes) == ("finished", ())
