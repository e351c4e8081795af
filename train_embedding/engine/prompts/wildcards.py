"""Alternatives in captions: of `{red|blue}` one is drawn each time.

Groups may stand inside one another, `{a {big|small} star|a circle}`, and an alternative may be empty, `{|big }star`. A group
without a bar is its text. Outside groups a bar is a bar. `\\{`, `\\}`, `\\|` and `\\\\` are the characters themselves.
"""

from __future__ import annotations

import random
import re

_PIECE = re.compile(r"\\([{}|\\])|([{}|])|([^{}|\\]+|\\)")
_SPECIAL = re.compile(r"[{}|\\]")


def draw_alternatives(text: str, rng: random.Random) -> str:
    """The text with one alternative of each group, every one as likely as the others; nothing is drawn where no group is.

    Raises ValueError with a sentence for braces that do not match.
    """
    groups: list[list[str]] = [[""]]  # the innermost last, each with its alternatives up to here
    for escaped, mark, plain in _PIECE.findall(text):
        if mark == "{":
            groups.append([""])
        elif mark == "}":
            if len(groups) == 1:
                raise ValueError('It has a "}" that no "{" opens; write \\} for the character itself.')
            alternatives = groups.pop()
            groups[-1][-1] += rng.choice(alternatives) if len(alternatives) > 1 else alternatives[0]
        elif mark == "|" and len(groups) > 1:
            groups[-1].append("")
        else:
            groups[-1][-1] += escaped or mark or plain
    if len(groups) > 1:
        raise ValueError('It has a "{" that no "}" closes; write \\{ for the character itself.')
    return groups[0][0]


def check_alternatives(text: str) -> None:
    """Raises ValueError with a sentence for braces that do not match."""
    draw_alternatives(text, random.Random(0))


def escape_alternatives(text: str) -> str:
    """A text that `draw_alternatives` turns into this one, whatever it contains."""
    return _SPECIAL.sub(r"\\\g<0>", text)
