"""A pickle read as plain data: nothing is imported, nothing is called, and no size that it names is believed.

Python's own unpickler reserves what a pickle claims: eight bytes can claim a memo of four billion entries. torch's goes on for
as long as there are opcodes: a file of 20 kB kept it busy for 17 seconds. Here a name stays a name, and the few functions that a
tensor needs are given by the caller. Work and memory are bounded by the number of opcodes and by the bytes there are.
"""

from __future__ import annotations

from dataclasses import dataclass

from train_embedding.embeddings.formats.containers.pickle_machine import Machine, Stream
from train_embedding.embeddings.formats.containers.pickle_rules import CutShort, NotData, Rules

MAX_PICKLE = 2 * 2**20
"Bytes. torch's old layout keeps the source code of a ParameterDict, some 30 KB."


def read_pickle(data: bytes, rules: Rules, start: int = 0) -> tuple[object, int]:
    """The value that begins at `start`, and where it ends. Raises NotData."""
    machine = Machine(Stream(data, start, MAX_PICKLE), rules)
    try:
        return machine.run(), machine.stream.tell()
    except NotData:
        raise
    except Exception as error:  # whatever is amiss: a missing operand, a wrong type, bytes that end
        raise NotData(f"its pickle makes no sense ({type(error).__name__})") from error


@dataclass(frozen=True)
class PickleScan:
    """What a reader of a pickle would reach."""

    disallowed: tuple[str, ...]
    "Globals that the pickle imports besides the allowed ones."
    end: int | None
    "Behind the last pickle; None where every reader stops before it has an end."


def scan_pickle(data: bytes, allowed: Rules, pickles: int) -> PickleScan:
    """Follow a reader that reads up to so many pickles, one behind the other.

    It goes on to the end, or to where every reader stops: where the file ends, at a byte that is no opcode, or at one that takes
    what is not there.

    Args:
        allowed: With `skip_disallowed`, so that every disallowed global is found.

    Raises:
        NotData: Where it cannot be proved what a reader would do, and nothing was found until then.
    """
    disallowed: list[str] = []
    end = 0
    for _ in range(pickles):
        machine = Machine(Stream(data, end, MAX_PICKLE), allowed)
        try:
            machine.run()
        except Exception as error:
            disallowed += machine.disallowed
            stopped = isinstance(error, CutShort) or (machine.stream.at_end and not isinstance(error, NotData))
            if disallowed or stopped:
                return PickleScan(tuple(disallowed), None)
            raise NotData("its pickle cannot be followed to its end") from error
        disallowed += machine.disallowed
        end = machine.stream.tell()
    return PickleScan(tuple(disallowed), end)
