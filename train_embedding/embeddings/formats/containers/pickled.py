"""A pickle read as plain data: nothing is imported, nothing is called, and no size that it names is believed.

Python's own unpickler reserves what a pickle asks for: eight bytes can claim a memo of four billion entries. torch's goes on for
as long as there are opcodes: a file of 20 kB kept it busy for 17 seconds. Here a name stays a name, and the few functions that a
tensor needs are given by the caller. Work and memory are bounded by the number of opcodes and by the bytes there are.
"""

from __future__ import annotations

from train_embedding.embeddings.formats.containers.pickle_machine import Machine, Stream
from train_embedding.embeddings.formats.containers.pickle_rules import CutShort, NotData, Rules

MAX_PICKLE = 2 * 2**20
"Bytes. torch's old layout keeps the source code of a ParameterDict, some 30 KB."


def read_pickle(data: bytes, rules: Rules, start: int = 0) -> tuple[object, int]:
    """The value that begins at `start`, and where it ends. Raises NotData."""
    machine = Machine(Stream(data[start : start + MAX_PICKLE]), rules)
    try:
        return machine.run(), start + machine.stream.tell()
    except NotData:
        raise
    except Exception as error:  # whatever is amiss: a missing operand, a wrong type, bytes that end
        raise NotData(f"its pickle makes no sense ({type(error).__name__})") from error


def asked_for(data: bytes, harmless: Rules, pickles: int) -> list[str]:
    """The names besides the harmless ones that a reader comes to which reads up to so many pickles, one behind the other.

    harmless: with a Stranger for what is not, so that all of it is found. Where that reader could not go on, neither can
    this, and what it came to until then is the answer. Raises NotData where it could, and this cannot tell what it would do.
    """
    asked: list[str] = []
    start = 0
    for _ in range(pickles):
        machine = Machine(Stream(data[start : start + MAX_PICKLE]), harmless)
        try:
            machine.run()
        except Exception as error:
            asked += machine.asked
            # An operand that ends too early, which is not for us to find.
            at_end = machine.stream.tell() >= len(data) - start and not isinstance(error, NotData)
            stuck = at_end or isinstance(error, CutShort | LookupError)
            if asked or stuck:  # a memo or a mark that is not there, a LookupError, stops every reader
                return asked
            raise NotData("its pickle cannot be followed to its end") from error
        asked += machine.asked
        start += machine.stream.tell()
    return asked
