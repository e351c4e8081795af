"""Rate schedules in the WebUI's syntax."""

from __future__ import annotations

import pytest

from train_embedding.engine.config.learning_rate import RateSchedule, parse_schedule
from train_embedding.errors import InvalidSpec


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("0.005", ((0.005, None),)),
        (" 5e-3 ", ((0.005, None),)),
        ("0.005:-1", ((0.005, None),)),
        ("0.005:100", ((0.005, 100),)),
        ("0.005:100, 1e-3:1000", ((0.005, 100), (0.001, 1000))),
        ("0.005:100,1e-3", ((0.005, 100), (0.001, None))),
        ("0.005 : 100 , 1e-3 : -1 ,", ((0.005, 100), (0.001, None))),
        ("100", ((100.0, None),)),
    ],
)
def test_what_parses(text: str, pieces: tuple[tuple[float, int | None], ...]) -> None:
    assert parse_schedule(text) == RateSchedule(pieces)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "The learning rate is empty."),
        (" , ", "The learning rate is empty."),
        ("fast", '"fast" is not a learning rate.'),
        ("0.005:", '"0.005:" is not a learning rate.'),
        (":100", '":100" is not a learning rate.'),
        ("0.005:1.5", '"0.005:1.5" is not a learning rate.'),
        ("0.005:10:20", '"0.005:10:20" is not a learning rate.'),
        ("0,005", 'The learning rate "0" must be above 0 and at most 100.'),
        ("-0.1", 'The learning rate "-0.1" must be above 0 and at most 100.'),
        ("nan", 'The learning rate "nan" must be above 0 and at most 100.'),
        ("inf:5", 'The learning rate "inf:5" must be above 0 and at most 100.'),
        ("1e999", 'The learning rate "1e999" must be above 0 and at most 100.'),
        ("100.1", 'The learning rate "100.1" must be above 0 and at most 100.'),
        ("0.005:0", 'The step in the learning rate "0.005:0" must be at least 1.'),
        ("0.005:-2", 'The step in the learning rate "0.005:-2" must be at least 1.'),
        ("0.1:100, 0.2:100", 'In the learning rate schedule, the step of "0.2:100" is not larger than the one before.'),
        ("0.1:100, 0.2:50", 'In the learning rate schedule, the step of "0.2:50" is not larger than the one before.'),
        ("0.1, 0.2:50", 'In the learning rate schedule, "0.2:50" follows a rate without a last step.'),
        ("0.1:-1, 0.2", 'In the learning rate schedule, "0.2" follows a rate without a last step.'),
    ],
)
def test_what_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_schedule(text)
    assert caught.value.message == sentence
    assert '"0.005:100, 1e-3:1000"' in caught.value.hint


def test_the_rate_changes_after_the_step_that_is_named() -> None:
    schedule = parse_schedule("0.1:2, 0.2:5, 0.3")
    assert [schedule.at(step) for step in (1, 2, 3, 5, 6, 1000)] == [0.1, 0.1, 0.2, 0.2, 0.3, 0.3]
    assert schedule.end is None


def test_where_a_schedule_ends() -> None:
    schedule = parse_schedule("0.1:2, 0.2:5")
    assert schedule.end == 5
    assert schedule.at(6) == 0.2
