"""Read pickles as plain data: nothing is imported or called, and no size that the pickle claims is trusted.

Python's unpickler allocates what a pickle claims: eight bytes can claim a memo of four billion entries. torch's unpickler runs as
long as there are opcodes: a file of 20 kB can keep it busy for 17 seconds. Here globals stay names, the caller provides
replacements for the few functions that tensors need, and the numbers of opcodes and bytes bound time and memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from train_embedding.embeddings.formats.containers.pickle_machine import Machine, Stream
from train_embedding.embeddings.formats.containers.pickle_rules import CutShort, NotData, Rules
from train_embedding.messages import msg

MAX_PICKLE = 2 * 2**20
"Bytes. In torch's old layout, the source code of ParameterDict alone takes about 30 KB."


def read_pickle(data: bytes, rules: Rules, start: int = 0) -> tuple[object, int]:
    """Read the pickle that begins at `start`.

    Returns:
        The value, and the position after the pickle.

    Raises:
        NotData: The pickle is damaged, or contains more than the rules allow.
    """
    machine = Machine(Stream(data, start, MAX_PICKLE), rules)
    try:
        return machine.run(), machine.stream.tell()
    except NotData:
        raise
    except Exception as error:  # such as a missing operand, a wrong type, or the end of the data
        raise NotData(msg("its pickle is invalid ({error})", error=type(error).__name__)) from error


@dataclass(frozen=True)
class PickleScan:
    """Result of following a reader through one or more pickles."""

    disallowed: tuple[str, ...]
    "Globals that a reader would import, besides the allowed ones."
    end: int | None
    "Position after the last pickle; None if every reader fails before."


def scan_pickle(data: bytes, allowed: Rules, pickles: int) -> PickleScan:
    """Follow a reader that reads several pickles, one after the other, to the end or to where every reader fails.

    Every reader fails where the data ends, at a byte that is not an opcode, and at an opcode that uses a missing value.

    Args:
        data: The pickles.
        allowed: The rules, with `skip_disallowed`, so that every disallowed global is found.
        pickles: Maximum number of pickles to read.

    Raises:
        NotData: Nothing disallowed was found up to a point from which the behaviour of readers cannot be determined.
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
            raise NotData(msg("its pickle cannot be read to its end")) from error
        disallowed += machine.disallowed
        end = machine.stream.tell()
    return PickleScan(tuple(disallowed), end)
