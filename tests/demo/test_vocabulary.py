"""Vocabularies: captions say what is seen, and nothing that has no word."""

from __future__ import annotations

import random

import numpy as np
import pytest

from train_embedding.demo import drawing, measure, vocabulary
from train_embedding.demo.vocabulary import DEMO, SECOND, VOCABULARIES, Vocabulary, pair, random_captioned_scene, random_scene
from train_embedding.engine.prompts.tokenizer import token_ids

each_vocabulary = pytest.mark.parametrize("words", VOCABULARIES.values(), ids=VOCABULARIES)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ({"colour": "red", "background": "navy", "size": "big", "shape": "star"}, "a big red star on a navy background"),
        ({"colour": "orange", "background": "gray"}, "an orange thing on a gray background"),
        (
            {"colour": "blue", "background": "white", "size": "small", "shape": "ring", "look": "striped"},
            "a small striped blue ring on a white background",
        ),
    ],
)
def test_captions_of_one_shape(words: dict[str, str], text: str) -> None:
    assert DEMO.caption(**words) == text


def test_captions_of_two_shapes() -> None:
    text = SECOND.caption_two(first=("azure", "house"), second=("lime", "ball"), relation="below", background="olive")
    assert text == "an azure house below a lime ball on an olive paper"


@each_vocabulary
def test_the_same_seed_gives_the_same_scenes(words: Vocabulary) -> None:
    def made(seed: int) -> list[tuple[bytes, str]]:
        rng = random.Random(seed)
        scenes = [random_captioned_scene(rng, words) for _ in range(5)]
        return [(drawing.draw(scene).tobytes(), caption) for scene, caption in scenes]

    assert made(1) == made(1)
    assert made(1) != made(2)


@each_vocabulary
def test_captions_name_what_is_seen(words: Vocabulary) -> None:
    rng = random.Random(3)
    seen: set[str] = set()
    for _ in range(600):
        scene, caption = random_captioned_scene(rng, words)
        said = caption.split()
        seen |= set(said)
        if scene.second is not None:
            assert {*words.relations, words.related} & set(said)
            continue
        assert (words.thing in said) == (scene.shape not in words.shapes.values())
        assert (words.patterned in said) == (bool(scene.pattern) and scene.pattern not in words.patterns.values())
        assert (words.styled in said) == (bool(scene.style) and scene.style not in words.styles.values())
        for kind, shown in ((words.shapes, scene.shape), (words.patterns, scene.pattern), (words.styles, scene.style)):
            for word, meaning in kind.items():
                assert (word in said) == (shown == meaning)
        for size in filter(None, words.sizes):
            low, high = words.sizes[size]
            assert size not in said or low <= scene.radius <= high
        colour = next(word for word in said if word in (*words.hues, words.any_hue))
        if colour in words.hues:
            distance = abs(scene.hue - words.hues[colour]) % 360
            assert min(distance, 360 - distance) <= 4
    named = {*words.hues, *words.backgrounds, *words.shapes, *words.patterns, *words.styles, *words.relations}
    assert named | {words.thing, words.patterned, words.styled, words.related, words.any_hue} <= seen


def test_the_vocabularies_share_no_word_for_what_they_show() -> None:
    def of(words: Vocabulary) -> set[str]:
        kinds = (words.hues, words.backgrounds, words.shapes, words.patterns, words.styles, words.relations)
        return {word for kind in kinds for word in kind}

    assert not of(DEMO) & of(SECOND)


@each_vocabulary
def test_most_words_are_single_tokens(words: Vocabulary) -> None:
    named = [*words.hues, *words.shapes, *words.patterns, *words.styles, *words.relations]
    assert sum(len(token_ids(word)) == 1 for word in named) > 0.8 * len(named)


@pytest.mark.parametrize("relation", vocabulary.RELATIONS)
def test_two_shapes_lie_as_their_relation_says(relation: str) -> None:
    for seed in range(10):
        rng = random.Random(seed)
        first, second = (random_scene(rng, DEMO, colour=colour, background="white", shape="circle") for colour in ("red", "blue"))
        image = drawing.draw(pair(rng, first, second, relation))
        red, blue = (measure.hue_centre(image, DEMO.hues[colour]) for colour in ("red", "blue"))
        assert red is not None
        assert blue is not None
        down, across = blue - red
        if relation == "inside":
            assert abs(down) < 6
            assert abs(across) < 6
            continue
        assert np.sign(round(down / 12)) == {"above": 1, "below": -1, "beside": 0, "diagonal": 1}[relation]
        assert np.sign(round(across / 12)) == {"above": 0, "below": 0, "beside": 1, "diagonal": 1}[relation]
