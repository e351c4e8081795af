"""How an option is declared, and what its declaration allows."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from train_embedding.engine.config.options import Option, option, options_of
from train_embedding.engine.config.rules import check_option, requirement
from train_embedding.engine.config.spec import OPTIONS, TrainingSpec
from train_embedding.errors import InvalidOption


@dataclass(frozen=True)
class Example:
    name: str = field(metadata=option("Name", "Its name.", "Basics"))
    count: int = field(default=2, metadata=option("Count", "How many.", "Basics", low=1, high=4000, multiple_of=2, unit="cats"))
    share: float = field(default=0.5, metadata=option("Share", "How much.", "Images", low=0.0, high=0.99))
    fast: bool = field(default=True, metadata=option("Fast", "Whether it is fast.", "Images"))
    lines: tuple[str, ...] = field(default=("a",), metadata=option("Lines", "What it says.", "Captions"))
    colour: Literal["red", "blue"] = field(default="red", metadata=option("Colour", "Which.", "Images", choice_labels=("R", "B")))


EXAMPLE = {one.name: one for one in options_of(Example)}


def test_an_option_is_its_declaration_with_name_type_and_default() -> None:
    assert [one.kind for one in EXAMPLE.values()] == ["text", "integer", "number", "flag", "lines", "choice"]
    assert [one.default for one in EXAMPLE.values()] == [None, 2, 0.5, True, ("a",), "red"]
    assert (EXAMPLE["count"].label, EXAMPLE["count"].help, EXAMPLE["count"].group) == ("Count", "How many.", "Basics")
    assert EXAMPLE["colour"].labelled_choices() == [("R", "red"), ("B", "blue")]
    assert EXAMPLE["colour"].flag == "--colour"


@pytest.mark.parametrize(
    ("name", "sentence", "allowed", "refused"),
    [
        ("name", "text", ["", "cat"], [None, 5, ["cat"]]),
        ("count", "a whole number from 1 to 4,000 and a multiple of 2", [2, 4000], [0, 3, 4002, True, 2.0, "2", None]),
        ("share", "a number from 0 to 0.99", [0, 0.5, 0.99], [-0.1, 1, float("nan"), float("inf"), False, "0.5"]),
        ("fast", "true or false", [True, False], [0, 1, "true", None]),
        ("lines", "text or a list of lines", [(), ("a", "b")], ["a", ["a"], ("a", 5)]),
        ("colour", "one of red, blue", ["red", "blue"], ["green", "", None, 5, []]),
    ],
)
def test_the_type_and_the_bounds_decide_what_is_allowed(name: str, sentence: str, allowed: list[Any], refused: list[Any]) -> None:
    assert requirement(EXAMPLE[name]) == sentence
    for value in allowed:
        check_option(EXAMPLE[name], value)
    for value in refused:
        with pytest.raises(InvalidOption) as caught:
            check_option(EXAMPLE[name], value)
        assert caught.value.option == name
        assert caught.value.message.endswith(f"; it must be {sentence}.")


def test_an_error_can_name_the_option_as_the_reader_knows_it() -> None:
    with pytest.raises(InvalidOption) as caught:
        check_option(EXAMPLE["count"], 3)
    shown = caught.value.shown_as('"Count"')
    assert shown.message == '"Count" is 3; it must be a whole number from 1 to 4,000 and a multiple of 2.'
    assert shown.option == "count"


def test_a_type_that_cannot_be_shown_is_refused() -> None:
    made = dataclasses.make_dataclass("Made", [("when", dict, field(default=None, metadata=option("When", "When.", "Basics")))])
    with pytest.raises(TypeError, match="The option when has a type that no front end can show"):
        options_of(made)


def test_labels_must_match_the_choices() -> None:
    facts = option("Which", "Which one.", "Basics", choice_labels=("One",))
    made = dataclasses.make_dataclass("Made", [("which", Literal["a", "b"], field(default="a", metadata=facts))])
    with pytest.raises(TypeError, match="2 choices and 1 labels"):
        options_of(made)


def test_every_option_of_a_run_is_declared_with_all_that_is_shown() -> None:
    assert [one.name for one in OPTIONS] == [one.name for one in dataclasses.fields(TrainingSpec)]
    assert [one.name for one in OPTIONS if not one.label or not one.help] == []
    assert len({one.label for one in OPTIONS}) == len(OPTIONS)
    assert [one.name for one in OPTIONS if one.default is not None and not _allows(one, one.default)] == []
    bounded = [one for one in OPTIONS if one.kind in ("integer", "number")]
    assert [one.name for one in bounded if one.low is None or one.high is None] == []


def _allows(one: Option, value: Any) -> bool:
    try:
        check_option(one, value)
    except InvalidOption:
        return False
    return True
