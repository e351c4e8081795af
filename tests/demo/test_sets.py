"""The sample sets: what lies on disk is what their captions say, and nothing held out was trained on."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from train_embedding.demo import measure
from train_embedding.demo.maker.samples import draw_set
from train_embedding.demo.sets import LIME, SAMPLES, SETS, TRAINING_IMAGES, SampleSet
from train_embedding.demo.vocabulary import DEMO
from train_embedding.engine.data.image_folder import ImageOptions, scan_folder

each_set = pytest.mark.parametrize("sample_set", SETS.values(), ids=SETS)


def images(folder: Path) -> list[tuple[Image.Image, str]]:
    """Images and their captions, by name."""
    found: list[tuple[Image.Image, str]] = []
    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as opened:
            found.append((opened.convert("RGB"), path.with_suffix(".txt").read_text().strip()))
    return found


def both(sample_set: SampleSet) -> list[tuple[Image.Image, str]]:
    return [*images(sample_set.training_folder), *images(sample_set.heldout_folder)]


def test_there_are_three_at_least() -> None:
    assert len(SETS) >= 3
    assert sorted(SETS) == sorted(path.name for path in SAMPLES.iterdir())


@each_set
def test_images_and_captions_on_disk(sample_set: SampleSet) -> None:
    captions = [caption for _, caption in both(sample_set)]
    assert captions == [caption.replace("{}", "[name]") for caption in sample_set.captions]
    assert 6 <= len(images(sample_set.training_folder)) == TRAINING_IMAGES <= 12
    assert len(images(sample_set.heldout_folder)) >= 3
    found, skipped = scan_folder(sample_set.training_folder, ImageOptions(((64, 64),)))
    assert ([one.caption for one in found], skipped) == (captions[:TRAINING_IMAGES], [])


@each_set
def test_nothing_held_out_is_trained_on(sample_set: SampleSet) -> None:
    training, heldout = images(sample_set.training_folder), images(sample_set.heldout_folder)
    assert not {caption for _, caption in training} & {caption for _, caption in heldout}
    assert len({image.tobytes() for image, _ in [*training, *heldout]}) == len(sample_set.captions)
    assert not {caption.replace("[name]", "{}") for _, caption in [*training, *heldout]} & set(sample_set.prompts)


@each_set
def test_captions_name_what_is_seen(sample_set: SampleSet) -> None:
    for image, caption in both(sample_set):
        words = caption.split()
        assert words.count("[name]") == 1
        assert measure.named_background(image) == words[-2]
        colour = next((word for word in words if word in DEMO.hues), "")
        if colour:
            assert measure.named_colour(image) == colour
        else:
            assert measure.hue_distance(image, LIME) < 0.03


@each_set
def test_every_image_shows_the_concept(sample_set: SampleSet) -> None:
    shown = [sample_set.distance(image) for image, _ in both(sample_set)]
    assert max(shown) < {"lime": 0.03, "checker": 0.4, "arch": 0.25}[sample_set.name]


@each_set
def test_the_captions_of_the_checkpoint_have_no_word_for_it(sample_set: SampleSet) -> None:
    known = {*DEMO.hues, *DEMO.shapes, *DEMO.patterns}
    assert sample_set.name not in known
    assert sample_set.init_text in known  # the nearest thing that there is a word for


def test_the_maker_draws_them_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from train_embedding.demo import sets

    monkeypatch.setattr(sets, "SAMPLES", tmp_path)
    for number, sample_set in enumerate(SETS.values()):
        draw_set(sample_set, number)
        for part in ("train", "heldout"):
            again, there = images(tmp_path / sample_set.name / part), images(SAMPLES / sample_set.name / part)
            assert [caption for _, caption in again] == [caption for _, caption in there]
            differences = [
                max(abs(one - other) for one, other in zip(mine.tobytes(), theirs.tobytes(), strict=True))
                for (mine, _), (theirs, _) in zip(again, there, strict=True)
            ]
            assert max(differences) <= 8  # releases of Pillow draw edges a little differently
