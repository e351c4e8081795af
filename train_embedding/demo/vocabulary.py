"""The words of a demo checkpoint, and captioned random scenes.

A vocabulary names some colours, shapes, patterns, styles and relations. Other images show what no caption has a word for:
hues between the named ones, and shapes, patterns, styles and relations that share one word ("thing"). The checkpoint can
therefore generate them, but no prompt describes them: a task for a textual-inversion embedding.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from train_embedding.demo.drawing import SIZE, Point, Scene

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Vocabulary:
    """Words by what they mean. Shapes, patterns, styles and relations map a word to what `drawing` calls it.

    Attributes:
        name: Name of the vocabulary.
        hues: Hue in degrees of each colour.
        pale: Colours of lower saturation.
        any_hue: Word for a colour of any hue.
        backgrounds: RGB of each background.
        ground: What a caption calls the background; follows its colour.
        sizes: Smallest and largest radius in pixels of each size; "" is the size of captions that name none.
        small: The size that is too small for a pattern.
        shapes: Named shapes.
        thing: Word for every other shape.
        patterns: Named patterns.
        patterned: Word for every other pattern.
        styles: Named styles.
        styled: Word for every other style.
        relations: Named relations of two shapes.
        related: Word for every other relation.
    """

    name: str
    hues: Mapping[str, float]
    pale: frozenset[str]
    any_hue: str
    backgrounds: Mapping[str, Colour]
    ground: str
    sizes: Mapping[str, tuple[float, float]]
    small: str
    shapes: Mapping[str, str]
    thing: str
    patterns: Mapping[str, str]
    patterned: str
    styles: Mapping[str, str]
    styled: str
    relations: Mapping[str, str]
    related: str

    def caption(self, *, colour: str, background: str, size: str = "", shape: str = "", look: str = "") -> str:
        """Return the caption of one shape, such as "a big striped red star on a navy background".

        Args:
            colour: Word for the colour.
            background: Word for the background.
            size: Word for the size.
            shape: Word for the shape; `thing` if empty.
            look: Word for the pattern or the style.
        """
        return f"{self._phrase(size, look, colour, shape or self.thing)} on {_with_article(f'{background} {self.ground}')}"

    def caption_two(self, *, first: tuple[str, str], second: tuple[str, str], relation: str, background: str) -> str:
        """Return the caption of two shapes, such as "a red star above a blue circle on a navy background".

        Args:
            first: Words for the colour and the shape.
            second: The same of the second shape.
            relation: Word for the relation.
            background: Word for the background.
        """
        return f"{self._phrase(*first)} {relation} {self._phrase(*second)} on {_with_article(f'{background} {self.ground}')}"

    def _phrase(self, *words: str) -> str:
        return _with_article(" ".join(filter(None, words)))


DEMO = Vocabulary(
    name="demo",
    hues={"red": 0, "orange": 28, "yellow": 55, "green": 125, "cyan": 182, "blue": 225, "purple": 272, "pink": 325},
    pale=frozenset({"pink"}),
    any_hue="colored",
    backgrounds={
        "white": (244, 244, 244),
        "black": (14, 14, 14),
        "gray": (128, 128, 128),
        "navy": (14, 20, 84),
        "beige": (226, 206, 166),
        "brown": (88, 56, 30),
    },
    ground="background",
    sizes={"small": (13.5, 15.5), "": (18.0, 21.0), "big": (24.0, 27.5)},
    small="small",
    shapes={word: word for word in ("circle", "square", "triangle", "star", "diamond", "cross", "heart", "ring")},
    thing="thing",
    patterns={"striped": "striped", "dotted": "dotted"},
    patterned="patterned",
    styles={"outlined": "outlined", "shaded": "shaded"},
    styled="drawn",
    relations={"above": "above", "beside": "beside"},
    related="with",
)
"The vocabulary of the demo checkpoint."
SECOND = Vocabulary(
    name="second",
    hues={"crimson": 345, "amber": 40, "lime": 88, "emerald": 150, "azure": 205, "violet": 250, "magenta": 300},
    pale=frozenset(),
    any_hue="colourful",
    backgrounds={
        "cream": (248, 240, 214),
        "charcoal": (46, 48, 54),
        "teal": (8, 86, 92),
        "maroon": (86, 12, 28),
        "silver": (178, 182, 190),
        "olive": (84, 84, 28),
    },
    ground="paper",
    sizes={"tiny": (13.5, 15.5), "": (18.0, 21.0), "huge": (24.0, 27.5)},
    small="tiny",
    shapes={
        "house": "house",
        "arrow": "arrow",
        "lightning": "bolt",
        "bridge": "arch",
        "glass": "hourglass",
        "moon": "crescent",
        "hammer": "tee",
        "ball": "circle",
    },
    thing="object",
    patterns={"chequered": "checker", "wavy": "zigzag"},
    patterned="decorated",
    styles={"glowing": "glow", "floating": "shadow"},
    styled="painted",
    relations={"inside": "inside", "below": "below"},
    related="near",
)
"The vocabulary of the second checkpoint of the benchmarks: other words, other colours, and other things that have a word."
VOCABULARIES = {vocabulary.name: vocabulary for vocabulary in (DEMO, SECOND)}

SHAPES = (
    "circle", "square", "triangle", "star", "diamond", "cross", "heart", "ring",
    "arrow", "bolt", "arch", "house", "hourglass", "crescent", "tee", "blob",
)  # fmt: skip
PATTERNS = ("striped", "dotted", "checker", "rings", "halves", "zigzag")
STYLES = ("outlined", "shaded", "glow", "shadow")
RELATIONS = ("above", "below", "beside", "inside", "diagonal")
_PAIR_RADII = (11.5, 14.0)
_OUTER_RADII, _INNER_RADII = (25.0, 27.5), (10.5, 12.0)
_NO_PATTERN, _NO_STYLE = 0.4, 0.8
_PAIRS, _ANY_HUE, _UNNAMED, _UNSAID_SIZE = 0.1, 0.15, 0.25, 0.25


def random_scene(
    rng: random.Random,
    vocabulary: Vocabulary,
    *,
    colour: str,
    background: str,
    shape: str,
    size: str = "",
    pattern: str = "",
    style: str = "",
) -> Scene:
    """Make a scene with the given properties and random others.

    Args:
        rng: Source of randomness.
        vocabulary: The words.
        colour: Word for the colour.
        background: Word for the background.
        shape: One of SHAPES.
        size: Word for the size.
        pattern: One of PATTERNS, or "".
        style: One of STYLES, or "".
    """
    any_hue = colour == vocabulary.any_hue
    hue = rng.uniform(0, 360) if any_hue else vocabulary.hues[colour] + rng.uniform(-4, 4)
    pale = colour in vocabulary.pale
    radius = rng.uniform(*vocabulary.sizes[size])
    room = SIZE / 2 - radius * 0.95
    outline = tuple(rng.uniform(0.45, 1.0) for _ in range(rng.choice((5, 6, 7, 8)))) if shape == "blob" else ()
    return Scene(
        shape=shape,
        hue=hue % 360,
        saturation=rng.uniform(0.42, 0.55) if pale else rng.uniform(0.86, 1.0),
        value=rng.uniform(0.95, 1.0) if pale else rng.uniform(0.85, 0.98),
        pattern=pattern,
        background=tuple(max(0, min(255, channel + rng.randint(-8, 8))) for channel in vocabulary.backgrounds[background]),  # type: ignore[arg-type]
        radius=radius,
        centre=(SIZE / 2 + rng.uniform(-room, room) * 0.7, SIZE / 2 + rng.uniform(-room, room) * 0.7),
        rotation=rng.uniform(-10, 10),
        pattern_angle=rng.uniform(-6, 6),
        pattern_phase=(rng.uniform(0, 1), rng.uniform(0, 1)),
        outline=outline,
        style=style,
    )


def pair(rng: random.Random, first: Scene, second: Scene, relation: str) -> Scene:
    """Put two scenes of one shape each together, on the background of the first.

    Args:
        rng: Source of randomness for sizes and places.
        first: A scene.
        second: Another one; its background is not drawn.
        relation: One of RELATIONS: where the first shape is. Diagonal: the first is above and to the left of the second.
    """
    middle = (SIZE / 2 + rng.uniform(-3, 3), SIZE / 2 + rng.uniform(-3, 3))
    if relation == "inside":
        inner = replace(first, radius=rng.uniform(*_INNER_RADII), centre=_moved(middle, rng.uniform(-2, 2), rng.uniform(-2, 2)))
        return replace(second, radius=rng.uniform(*_OUTER_RADII), centre=middle, background=first.background, second=inner)
    across, down = {"above": (0, -1), "below": (0, 1), "beside": (-1, 0), "diagonal": (-0.9, -0.9)}[relation]
    gap = rng.uniform(14.5, 16.5)
    return replace(
        first,
        radius=rng.uniform(*_PAIR_RADII),
        centre=_moved(middle, across * gap, down * gap),
        second=replace(second, radius=rng.uniform(*_PAIR_RADII), centre=_moved(middle, -across * gap, -down * gap)),
    )


def random_captioned_scene(rng: random.Random, vocabulary: Vocabulary = DEMO) -> tuple[Scene, str]:
    """Make the scene of a training image, and its caption."""
    background = rng.choice(list(vocabulary.backgrounds))
    if rng.random() < _PAIRS:
        return _random_pair(rng, vocabulary, background)
    colour = vocabulary.any_hue if rng.random() < _ANY_HUE else rng.choice(list(vocabulary.hues))
    size = rng.choice(list(vocabulary.sizes))
    shape = _random_shape(rng, vocabulary)
    pattern = style = ""
    if size != vocabulary.small and rng.random() >= _NO_PATTERN:
        pattern = _random_of(rng, vocabulary.patterns, PATTERNS)
    elif rng.random() >= _NO_STYLE:
        style = _random_of(rng, vocabulary.styles, STYLES)
    scene = random_scene(
        rng, vocabulary, colour=colour, background=background, size=size, shape=shape, pattern=pattern, style=style
    )
    look = (
        _word(vocabulary.patterns, pattern, vocabulary.patterned)
        if pattern
        else _word(vocabulary.styles, style, vocabulary.styled)
        if style
        else ""
    )
    said_size = "" if rng.random() < _UNSAID_SIZE else size
    said_shape = _word(vocabulary.shapes, shape, vocabulary.thing)
    return scene, vocabulary.caption(colour=colour, background=background, size=said_size, shape=said_shape, look=look)


def _random_pair(rng: random.Random, vocabulary: Vocabulary, background: str) -> tuple[Scene, str]:
    colours = rng.sample(list(vocabulary.hues), 2)
    shapes = [rng.choice(list(vocabulary.shapes)) for _ in colours]
    relation = _random_of(rng, vocabulary.relations, RELATIONS, unnamed=0.4)
    scenes = [
        random_scene(rng, vocabulary, colour=colour, background=background, shape=vocabulary.shapes[shape])
        for colour, shape in zip(colours, shapes, strict=True)
    ]
    said = vocabulary.caption_two(
        first=(colours[0], shapes[0]),
        second=(colours[1], shapes[1]),
        relation=_word(vocabulary.relations, relation, vocabulary.related),
        background=background,
    )
    return pair(rng, scenes[0], scenes[1], relation), said


def _random_shape(rng: random.Random, vocabulary: Vocabulary) -> str:
    return _random_of(rng, vocabulary.shapes, SHAPES, unnamed=_UNNAMED)


def _random_of(rng: random.Random, named: Mapping[str, str], known: Sequence[str], *, unnamed: float = 0.5) -> str:
    """Choose a named one, or with the probability `unnamed` one that has no word of its own."""
    others = [each for each in known if each not in named.values()]
    return rng.choice(others) if rng.random() < unnamed else rng.choice(list(named.values()))


def _word(named: Mapping[str, str], meaning: str, other: str) -> str:
    """Return the word for a meaning, or that for all that have none."""
    return next((word for word, named_meaning in named.items() if named_meaning == meaning), other)


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _moved(point: Point, across: float, down: float) -> Point:
    return point[0] + across, point[1] + down
