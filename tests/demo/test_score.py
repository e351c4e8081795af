"""How well a checkpoint draws what it is told: the counting, and the demo checkpoint's own score."""

from __future__ import annotations

import random

import pytest
from PIL import Image

from train_embedding.demo.drawing import draw
from train_embedding.demo.score import Prompt, Score, contact_sheet, draw_prompts, random_prompts, score
from train_embedding.demo.vocabulary import DEMO, VOCABULARIES, Vocabulary, random_scene
from train_embedding.engine.loading.checkpoint import load_checkpoint
from train_embedding.hosts.standalone import DEMO_CHECKPOINT

each_vocabulary = pytest.mark.parametrize("words", VOCABULARIES.values(), ids=VOCABULARIES)


def perfect(prompt: Prompt, words: Vocabulary = DEMO) -> Image.Image:
    """What a perfect model would draw."""
    said = prompt.text.split()
    scene = random_scene(
        random.Random(prompt.text),
        words,
        colour=prompt.colour,
        background=prompt.background,
        size=next((word for word in words.sizes if word and word in said), ""),
        shape=words.shapes[prompt.shape],
        pattern=next((pattern for word, pattern in words.patterns.items() if word in said), ""),
    )
    return draw(scene)


@each_vocabulary
def test_prompts_cover_everything_that_has_a_name(words: Vocabulary) -> None:
    prompts = random_prompts(200, 1, words)
    assert prompts == random_prompts(200, 1, words)
    assert prompts != random_prompts(200, 2, words)
    seen = {word for prompt in prompts for word in prompt.text.split()}
    assert {*words.hues, *words.backgrounds, *words.shapes, *words.patterns} <= seen


@each_vocabulary
def test_perfect_images_and_shuffled_ones(words: Vocabulary) -> None:
    prompts = random_prompts(60, 2, words)
    images = [perfect(prompt, words) for prompt in prompts]
    counted = score(prompts, images, words)
    assert (counted.images, counted.colour, counted.background) == (60, 60, 60)
    assert counted.shape >= 57  # patterns of the color of the background hide parts of a shape
    wrong = score(prompts, images[1:] + images[:1], words)
    assert wrong.colour < 20
    assert wrong.background < 25
    assert wrong.shape < 20


def test_one_wrong_image_counts() -> None:
    prompts = [
        Prompt("a big red star on a navy background", "red", "navy", "star"),
        Prompt("a big blue ring on a white background", "blue", "white", "ring"),
    ]
    green = Prompt("a big green ring on a white background", "green", "white", "ring")
    square = Prompt("a big blue square on a white background", "blue", "white", "square")
    assert score(prompts, [perfect(prompts[0]), perfect(green)]) == Score(2, 1, 2, 2)
    assert score(prompts, [perfect(prompts[0]), perfect(square)]) == Score(2, 2, 2, 1)
    empty = score(prompts, [perfect(prompts[0]), Image.new("RGB", (64, 64), "white")])
    assert (empty.colour, empty.background) == (1, 2)


def test_the_contact_sheet() -> None:
    sheet = contact_sheet([Image.new("RGB", (64, 64), "red")] * 5, 3)
    assert sheet.size == (3 * 66 * 2, 2 * 66 * 2)


@pytest.mark.checkpoint
@pytest.mark.slow
def test_the_demo_checkpoint_draws_what_it_is_told() -> None:
    """`python -m train_embedding.demo.score` counts the same."""
    prompts = random_prompts(100, 0)
    counted = score(prompts, draw_prompts(load_checkpoint(DEMO_CHECKPOINT), [prompt.text for prompt in prompts], 0))
    assert counted.colour >= 95
    assert counted.background >= 95
    assert counted.shape >= 90
