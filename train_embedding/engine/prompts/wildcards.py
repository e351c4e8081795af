"""Wildcards in captions: each time, one alternative of `{red|blue}` is drawn.

Groups may be nested, `{a {big|small} star|a circle}`, and alternatives may be empty, `{|big }star`. A group without a bar is its
text. Outside groups a bar is a bar. `\\{`, `\\}`, `\\|` and `\\\\` are the characters themselves.
"""

from __future__ import annotations

import random
import re

_PIECE = re.compile(r"\\([{}|\\])|([{}|])|([^{}|\\]+|\\)")
_SPECIAL = re.compile(r"[{}|\\]")


def draw_alternatives(text: str, rng: random.Random) -> str:
    """Replace each group by one of its alternatives, all equally likely. Nothing is drawn from `rng` without groups.

    Raises:
        ValueError: Braces do not match; the message is a sentence.
    """
    groups: list[list[str]] = [[""]]  # open groups, the innermost last, with their alternatives so far
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
    """Check a text's groups. Raises ValueError, whose message is a sentence, if braces do not match."""
    draw_alternatives(text, random.Random(0))


def escape_alternatives(text: str) -> str:
    """Escape braces, bars and backslashes, so that `draw_alternatives` returns this text."""
    return _SPECIAL.sub(r"\\\g<0>", text)
