"""Pickles as plain data: what Python's own reader makes of plain values, in every protocol, and nothing else."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from typing import Any

import pytest

from train_embedding.embeddings.formats.containers.pickle_machine import MAX_OPCODES
from train_embedding.embeddings.formats.containers.pickle_rules import Instance, Name, NotData, Rules, UnsafePickle, mapping
from train_embedding.embeddings.formats.containers.pickled import read_pickle

PLAIN = Rules({"collections.OrderedDict": mapping})
shared: list[object] = [1]
VALUES: list[Any] = [
    {"a": 1, "b": None, 3: True, "c": False},
    [1, 255, 256, 65536, -1, 2**40, -(2**40), 1.5, float("inf")],
    ("", "a", "é剣", (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
    [shared, shared, {"again": shared}],
    {"nested": {"deeper": [{"still": ["x" * 300]}]}},
    {},
    [[], [[]]],
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
@pytest.mark.parametrize("protocol", range(2, 6))
def test_reads_what_pickle_wrote(value: object, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    assert read_pickle(data, PLAIN) == (value, len(data))


@pytest.mark.parametrize("protocol", range(3, 6))
def test_reads_bytes(protocol: int) -> None:
    """Before protocol 3 they are a call."""
    assert read_pickle(pickle.dumps([b"", b"x" * 300], protocol), PLAIN)[0] == [b"", b"x" * 300]


@pytest.mark.parametrize("protocol", [0, 1])
def test_reads_the_oldest_protocols(protocol: int) -> None:
    value = {"a": [1, 2.5, "é", None], "b": (1, 2)}
    assert read_pickle(pickle.dumps(value, protocol), PLAIN)[0] == value


def test_objects_share_what_they_shared() -> None:
    (one, two), _ = read_pickle(pickle.dumps((shared, shared), 2), PLAIN)  # pyright: ignore[reportGeneralTypeIssues]
    assert one is two


def test_one_pickle_after_the_other() -> None:
    data = pickle.dumps(1) + pickle.dumps("two")
    first, end = read_pickle(data, PLAIN)
    assert (first, read_pickle(data, PLAIN, end)) == (1, ("two", len(data)))


@pytest.mark.parametrize("protocol", range(6))
def test_an_ordered_dict_becomes_a_dict(protocol: int) -> None:
    assert read_pickle(pickle.dumps(OrderedDict(a=1, b=2), protocol), PLAIN)[0] == {"a": 1, "b": 2}


class Thing:
    def __init__(self) -> None:
        self.held = {"a": 1}


@pytest.mark.parametrize("protocol", range(2, 6))
def test_an_object_of_a_known_class_is_its_state(protocol: int) -> None:
    name = f"{Thing.__module__}.{Thing.__qualname__}"
    made, _ = read_pickle(pickle.dumps(Thing(), protocol), Rules({}, {name}))
    assert made == Instance(name, {"held": {"a": 1}})
    with pytest.raises(UnsafePickle, match="Thing"):
        read_pickle(pickle.dumps(Thing(), protocol), PLAIN)


def test_a_name_stays_a_name() -> None:
    made, _ = read_pickle(pickle.dumps([len], 2), Rules({}, (), lambda name: name.endswith(".len")))
    assert made == [Name("__builtin__.len")]
    with pytest.raises(UnsafePickle, match=r"__builtin__\.len"):
        read_pickle(pickle.dumps([len], 2), PLAIN)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "cut short"),
        (b"}", "cut short"),
        (b".", "is invalid"),
        (b"0.", "missing value"),
        (b"}K\x01s.", "missing value|is invalid"),
        (b"](K\x01K\x02u.", "not a dictionary"),
        (b"}(K\x01e.", "not a list"),
        (b"h\x05.", "missing value"),
        (b"}(K\x01u.", "is invalid"),
        (b"})Ns.", "tuple as a key"),
        (b"}]Ns.", "list as a key"),
        (b"NQ.", "external data"),
        (b"N)R.", "not a function"),
        (b"N)\x81.", "not a class"),
        (b"]Nb.", "plain data"),
        (b"\x85.", "missing value"),
        (b"c" + b"x" * 10**6 + b"\ny\n.", "is invalid"),
        (b"I" + b"9" * 10**5 + b"\n.", "is invalid"),
        (b"N0" * MAX_OPCODES + b"N.", "too long"),
        (b"cnothing\nof the kind\n.", "nothing.of.the.kind"),
    ],
    ids=range(20),
)
def test_refused(data: bytes, reason: str) -> None:
    with pytest.raises(NotData, match=reason):
        read_pickle(data, PLAIN)
