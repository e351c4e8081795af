"""The concepts of the learning benchmark: their measures tell them from everything else, and no caption names them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.concepts import CONCEPTS, HELDOUT_IMAGES, TRAINING_IMAGES, Concept
from train_embedding.demo import drawing
from train_embedding.demo.vocabulary import DEMO, SECOND

LEARNABLE = [concept for concept in CONCEPTS if concept.half != "control"]
each_concept = pytest.mark.parametrize("concept", LEARNABLE, ids=[concept.name for concept in LEARNABLE])


def distances(concept: Concept, shown: Concept, count: int = 12) -> list[float]:
    """Measure images of `shown` as if they were images of `concept`."""
    rng = random.Random(5)
    scenes = [shown.make(rng, shown.vocabulary) for _ in range(count)]
    return [concept.distance(drawing.draw(scene), prompt) for scene, _caption, prompt in scenes]


def kind(concept: Concept) -> str:
    """Return what the captions of a concept consist of; measures need not work for those of another kind."""
    _scene, caption, prompt = concept.make(random.Random(1), concept.vocabulary)
    return "two shapes" if prompt.hues else "nothing else" if caption == "{}" else "one shape"


def test_six_are_for_tuning_and_the_second_checkpoint_is_only_for_reporting() -> None:
    assert sum(concept.half == "tuning" for concept in CONCEPTS) == 6
    assert sum(concept.vocabulary is DEMO for concept in CONCEPTS) >= 12
    assert {concept.half for concept in CONCEPTS if concept.vocabulary is SECOND} == {"reporting"}
    assert len({concept.name for concept in CONCEPTS}) == len(CONCEPTS)


@each_concept
def test_files_of_a_concept(concept: Concept, tmp_path: Path) -> None:
    training, heldout = concept.write(tmp_path / "first")
    assert len(list(training.glob("*.png"))) == TRAINING_IMAGES
    assert len(list(heldout.glob("*.png"))) == HELDOUT_IMAGES
    images = [file.read_bytes() for folder in (training, heldout) for file in sorted(folder.glob("*.png"))]
    assert len(set(images)) == len(images)
    assert all("[name]" in file.read_text() for folder in (training, heldout) for file in folder.glob("*.txt"))
    again = concept.write(tmp_path / "second")
    assert images == [file.read_bytes() for folder in again for file in sorted(folder.glob("*.png"))]


@each_concept
def test_no_caption_names_it(concept: Concept) -> None:
    rng = random.Random(1)
    words = concept.vocabulary
    for _ in range(20):
        scene, caption, prompt = concept.make(rng, words)
        assert caption.count("{}") == prompt.text.count("{}") == 1
        assert prompt.background in words.backgrounds
        for named, shown in ((words.patterns, scene.pattern), (words.styles, scene.style)):
            assert shown not in named.values()


@each_concept
def test_the_distance_tells_it_from_the_others(concept: Concept) -> None:
    own = distances(concept, concept)
    assert all(0 <= value <= 1 for value in own)
    others = [other for other in LEARNABLE if other.vocabulary is concept.vocabulary and other is not concept]
    others = [other for other in others if kind(other) == kind(concept)]
    for other in others:
        far = distances(concept, other)
        assert sum(far) > sum(own) + 0.15 * len(own), other.name


def test_captions_of_the_control_say_everything() -> None:
    (control,) = [concept for concept in CONCEPTS if concept.half == "control"]
    rng = random.Random(2)
    for _ in range(10):
        scene, caption, _prompt = control.make(rng, DEMO)
        assert next(word for word, shape in DEMO.shapes.items() if shape == scene.shape) in caption
        assert (scene.pattern, scene.style, scene.second) == ("", "", None)


def test_prompts_are_the_same_every_time() -> None:
    assert CONCEPTS[0].prompts(5) == CONCEPTS[0].prompts(5)
    assert len({prompt.background for prompt in CONCEPTS[5].prompts(12)}) > 3
