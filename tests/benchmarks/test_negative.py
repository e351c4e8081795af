"""Studies of negative embeddings: what is trained, and how images are compared."""

from __future__ import annotations

import random

import pytest
import torch

from benchmarks import joint, negative
from benchmarks.guided import AVOIDED, CONCEPT, Guided, encode_examples, initial, loss_with, operations, train_guided
from benchmarks.learning import checkpoint
from benchmarks.nearest_drawing import nearest_distance
from train_embedding.demo.drawing import draw
from train_embedding.demo.vocabulary import DEMO, VOCABULARIES, random_scene


def test_a_true_drawing_is_near_whatever_its_place_and_another_shape_is_not() -> None:
    rng, size = random.Random(1), DEMO.sizes["big"]

    def scene(shape: str, style: str = "") -> negative.Scene:
        return random_scene(rng, DEMO, colour="red", background="navy", size="big", shape=shape, style=style)

    for style in ("", "outlined", "shaded"):
        same = nearest_distance(draw(scene("star", style)), scene("star", style), size, DEMO)
        other = nearest_distance(draw(scene("cross", style)), scene("star", style), size, DEMO)
        assert same < 0.05 < 0.1 < other, style


@pytest.mark.parametrize("name", VOCABULARIES)
def test_evaluated_prompts_are_not_those_of_training(name: str) -> None:
    training, evaluated = negative.prompts_of(name)
    assert (len(training), len(evaluated)) == (negative.TRAINING_IMAGES, negative.PROMPTS)
    pairs = [{(prompt.colour, prompt.scene.shape) for prompt in some} for some in (training, evaluated)]
    assert not pairs[0] & pairs[1]


@pytest.mark.checkpoint
def test_guided_training_lowers_the_loss_of_the_guided_prediction() -> None:
    model, options = checkpoint(DEMO.name), Guided(5.0, 0, 1, 12)
    training = negative.prompts_of(DEMO.name)[0][:4]
    examples = encode_examples(model, [draw(prompt.scene) for prompt in training], [prompt.text for prompt in training])
    start = initial(model, AVOIDED, DEMO.thing, 1)
    (trained,) = train_guided(model, examples, [start], options, 0)
    before, after = (loss_with(model, examples, [each], 5.0) for each in (start, trained))
    assert after < 0.9 * before


@pytest.mark.checkpoint
def test_a_guided_step_adds_a_forward_pass_and_a_joint_one_doubles_the_work() -> None:
    model = checkpoint(DEMO.name)
    usual = operations(model, Guided(1.0, 2, 0))
    assert operations(model, Guided(5.0, 0, 2)) == pytest.approx(usual + 1, abs=0.02)
    assert operations(model, Guided(5.0, 2, 2)) == pytest.approx(2 * usual, abs=0.02)


@pytest.mark.checkpoint
def test_joint_training_changes_both_embeddings() -> None:
    model = checkpoint(DEMO.name)
    start = [initial(model, CONCEPT, "green", 2), initial(model, AVOIDED, DEMO.thing, 1)]
    prompt = negative.prompts_of(DEMO.name)[0][0]
    examples = encode_examples(model, [draw(prompt.scene)], [f"a {CONCEPT} star"])
    trained = train_guided(model, examples, start, Guided(3.0, 2, 1, 2, 1), 0)
    assert [each.name for each in trained] == [CONCEPT, AVOIDED]
    for before, after in zip(start, trained, strict=True):
        assert not torch.equal(before.vectors["clip_l"], after.vectors["clip_l"])
        assert torch.allclose(before.vectors["clip_l"].norm(dim=1), after.vectors["clip_l"].norm(dim=1))


def test_spoiled_drawings_are_farther_than_drawings() -> None:
    rng, prompts = random.Random(0), [prompt for prompt in negative.prompts_of(DEMO.name)[0] if not prompt.scene.style]
    images = [draw(prompt.scene) for prompt in prompts]
    near, far = (
        [nearest_distance(image, prompt.scene, prompt.radii, DEMO) for image, prompt in zip(some, prompts, strict=True)]
        for some in (images, [negative.spoil(image, rng) for image in images])
    )
    assert sum(far) > 2 * sum(near)


def test_differences_are_of_the_same_prompt_and_seed() -> None:
    base = [{"image_seed": 0, "nearest": [1.0, 2.0]}, {"image_seed": 1, "nearest": [5.0, 6.0]}]
    rows = [{"image_seed": 1, "nearest": [4.0, 5.0]}, {"image_seed": 0, "nearest": [0.0, 1.0]}]
    assert negative.paired(rows, base, "nearest") == (-1.0, 0.0)
    rows[0]["nearest"] = [4.0, 7.0]  # −1 and 1; the means of prompts are −1 and 0, those of seeds 0 and −1
    assert negative.paired(rows, base, "nearest") == (-0.5, pytest.approx((0.5 / 2 + 0.5 / 2) ** 0.5))


def test_reports() -> None:
    values = {name: [0.5] * negative.PROMPTS for name in negative.MEASURES}
    row = {"checkpoint": "demo", "seed": 0, "image_seed": 0}
    other = {**values, "nearest": [0.25] * negative.PROMPTS}
    table = negative.report([{**row, "method": negative.NONE, **values}, {**row, "method": negative.OWN, **other}])
    assert f"| {negative.NONE} | 1 | 32 | 0.500 |" in table
    assert f"| {negative.OWN} | 1 | 32 | -0.250 ± 0.000 | +0.000 ± 0.000 |" in table
    rows = [
        {"concept": "lime", "training": training, "image_seed": 0, "distance": [far] * 24, "obedience": [1.0] * 24}
        for training, far in zip(list(joint.TRAININGS)[:2], (0.5, 0.25), strict=True)
    ]
    assert joint.report(rows).splitlines()[-1] == "| lime | 0.500 (1.00) | -0.250 ± 0.000 (1.00) |"
