"""How well a checkpoint draws what it is told: the counting, and the demo checkpoint's own score."""

from __future__ import annotations

import random

import pytest
from PIL import Image

from train_embedding.demo import drawing
from train_embedding.demo.score import Score, contact_sheet, draw_prompts, random_prompts, score
from train_embedding.engine.loading.checkpoint import load_checkpoint
from train_embedding.hosts.standalone import DEMO_CHECKPOINT


def perfect(prompt: str) -> Image.Image:
    """What a perfect model would draw."""
    words = prompt.split()
    scene = drawing.random_scene(
        random.Random(prompt),
        colour=next(word for word in words if word in drawing.HUES),
        background=words[-2],
        size="big" if "big" in words else "",
        shape=next(word for word in words if word in drawing.NAMED_SHAPES),
        pattern=next((word for word in words if word in drawing.NAMED_PATTERNS), ""),
    )
    return drawing.draw(scene)


def test_prompts_cover_everything_that_has_a_name() -> None:
    prompts = random_prompts(200, 1)
    assert prompts == random_prompts(200, 1)
    assert prompts != random_prompts(200, 2)
    words = {word for prompt in prompts for word in prompt.split()}
    assert {*drawing.HUES, *drawing.BACKGROUNDS, *drawing.NAMED_SHAPES, "big", "striped", "dotted"} <= words


def test_perfect_images_and_shuffled_ones() -> None:
    prompts = random_prompts(60, 2)
    images = [perfect(prompt) for prompt in prompts]
    assert score(prompts, images) == Score(60, 60, 60)
    wrong = score(prompts, images[1:] + images[:1])
    assert wrong.colour < 20
    assert wrong.background < 25


def test_one_wrong_image_counts() -> None:
    prompts = ["a big red star on a navy background", "a blue ring on a white background"]
    images = [perfect(prompts[0]), perfect("a green ring on a white background")]
    assert score(prompts, images) == Score(2, 1, 2)
    assert score(prompts, [images[0], Image.new("RGB", (64, 64), "white")]) == Score(2, 1, 2)


def test_the_contact_sheet() -> None:
    sheet = contact_sheet([Image.new("RGB", (64, 64), "red")] * 5, 3)
    assert sheet.size == (3 * 66 * 2, 2 * 66 * 2)


@pytest.mark.checkpoint
@pytest.mark.slow
def test_the_demo_checkpoint_draws_what_it_is_told() -> None:
    """`python -m train_embedding.demo.score` counts over 100 prompts; at least 90 colours and 85 backgrounds are asked for."""
    prompts = random_prompts(100, 0)
    counted = score(prompts, draw_prompts(load_checkpoint(DEMO_CHECKPOINT), prompts, 0))
    assert counted.colour >= 90
    assert counted.background >= 85
