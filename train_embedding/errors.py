"""Every error this package raises on purpose.

    TrainEmbeddingError
    ├── InvalidInput             a value that the rules refuse
    │   ├── WrongBodyType        a request of the API whose body is not JSON
    │   ├── InvalidName
    │   ├── InvalidSpec          options of a run that do not go together, a rate schedule
    │   │   └── InvalidOption    the value of one option
    │   └── InvalidExpression    a formula over embeddings, with the place
    ├── NotFound                 an embedding, a run, a folder or a file that is not there
    ├── Conflict                 the name is taken, another run is under way, the wrong model family
    │   ├── BeingTrained         a run is training the embedding, or another one in this program
    │   └── NameTaken            another embedding or another file has the name
    ├── NotAllowed               a folder outside those that a shared server may touch
    ├── UnreadableFile           a file that is not what it should be
    ├── NothingToTrainOn         no usable image
    ├── StorageFailed            writing failed, the disk is full
    ├── TrainingFailed           NaN, out of memory
    ├── HostFailed               no checkpoint loaded, the host cannot do it
    ├── Busy                     too many images wait to be drawn
    └── SystemRefused            no permission, no memory left

Front ends translate at their edge: the command line exits with `exit_code`, the API answers `http_status`.
"""

from __future__ import annotations

import errno
from unicodedata import combining, east_asian_width

from train_embedding.messages import NOTHING, SPACE, Message, joined, msg, verbatim


class TrainEmbeddingError(Exception):
    """An error that a person can act on.

    Attributes:
        message: One sentence: what is wrong, with the value at fault.
        hint: One sentence: what to do; may be empty.
    """

    exit_code = 1
    http_status = 500

    def __init__(self, message: Message, hint: Message = NOTHING) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def text(self) -> Message:
        """Both sentences."""
        return joined((self.message, self.hint), SPACE)

    def __str__(self) -> str:
        return str(self.text)


class InvalidInput(TrainEmbeddingError):
    exit_code = 2
    http_status = 422


class WrongBodyType(InvalidInput):
    http_status = 415


class InvalidName(InvalidInput):
    pass


class InvalidSpec(InvalidInput):
    pass


class InvalidOption(InvalidSpec):
    """The value of one option of a training run.

    Attributes:
        option: Name of the option.
        problem: What is wrong, as the rest of a sentence that begins with the name.
    """

    def __init__(self, option: str, problem: Message, hint: Message = NOTHING, *, shown: Message | None = None) -> None:
        super().__init__(msg("{option} {problem}", option=shown or option, problem=problem), hint)
        self.option = option
        self.problem = problem

    def shown_as(self, name: Message) -> InvalidOption:
        """Return the same error under the name that the option has for the reader, such as its label."""
        return InvalidOption(self.option, self.problem, self.hint, shown=name)


class InvalidExpression(InvalidInput):
    """A formula that cannot be read or computed.

    Attributes:
        expression: The formula.
        column: Position of the character at fault, from 1.
    """

    def __init__(self, message: Message, hint: Message = NOTHING, *, expression: str, column: int) -> None:
        super().__init__(msg("Column {column}: {message}", column=column, message=message), hint)
        self.expression = expression
        self.column = column

    @property
    def pointer(self) -> str:
        """The formula, and below it a mark at the column; wide East Asian characters count as two."""
        line = "".join(" " if char.isspace() else char for char in self.expression)
        width = sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in line[: self.column - 1])
        return f"{line}\n{' ' * width}^"


class NotFound(TrainEmbeddingError):
    exit_code = 3
    http_status = 404


class Conflict(TrainEmbeddingError):
    exit_code = 4
    http_status = 409


class BeingTrained(Conflict):
    pass


class NameTaken(Conflict):
    pass


class NotAllowed(TrainEmbeddingError):
    exit_code = 5
    http_status = 403


class UnreadableFile(TrainEmbeddingError):
    exit_code = 6
    http_status = 422


class NothingToTrainOn(TrainEmbeddingError):
    exit_code = 7
    http_status = 422


class StorageFailed(TrainEmbeddingError):
    exit_code = 8
    http_status = 507


class TrainingFailed(TrainEmbeddingError):
    exit_code = 9
    http_status = 500


class HostFailed(TrainEmbeddingError):
    exit_code = 10
    http_status = 503


class Busy(TrainEmbeddingError):
    exit_code = 11
    http_status = 503


class SystemRefused(TrainEmbeddingError):
    exit_code = 12
    http_status = 507


_NO_MEMORY = ("can't allocate memory", "not enough memory", "cannot allocate memory", "failed to map segment", "out of memory")
"What torch and the dynamic linker say, in lower case."


def cannot_read(name: object, error: OSError) -> Message:
    """Return the sentence for a file or folder that cannot be read, with the reason that the operating system gives."""
    return msg('"{name}" cannot be read: {reason}.', name=name, reason=error.strerror or str(error))


def refusal_of(problem: BaseException) -> SystemRefused | None:
    """Return what the operating system refused, as an error with a sentence; None for any other exception, which is a bug.

    Front ends call it for unexpected exceptions: permission may be denied, and memory may run out, on any line.
    """
    if isinstance(problem, MemoryError) or any(text in str(problem).lower() for text in _NO_MEMORY):
        return SystemRefused(
            msg("There is not enough memory."), msg("Close other programs, or use smaller images, and try again.")
        )
    if not isinstance(problem, OSError) or problem.errno is None or problem.filename is None:
        return None
    path: object = problem.filename
    name = path.decode("utf-8", "replace") if isinstance(path, bytes) else str(path)
    if problem.errno in (errno.EACCES, errno.EPERM):
        return SystemRefused(
            msg('Permission denied: "{name}".', name=name), msg("Check the permissions of the file and of its folder.")
        )
    return SystemRefused(msg('Cannot use "{name}": {reason}.', name=name, reason=verbatim(problem.strerror or str(problem))))
