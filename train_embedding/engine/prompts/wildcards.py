"""Wildcards in captions: `{red|blue}` stands for one of its alternatives, picked at random each time.

Groups may be nested, `{a {big|small} star|a circle}`, and alternatives may be empty, `{|big }star`. A group without a bar stands
for its text. A bar outside groups is literal. `\\{`, `\\}`, `\\|` and `\\\\` are the literal characters.
"""

from __future__ import annotations

import random
import re

from train_embedding.errors import InvalidInput
from train_embedding.messages import msg

_PIECE = re.compile(r"\\([{}|\\])|([{}|])|([^{}|\\]+|\\)")
_SPECIAL = re.compile(r"[{}|\\]")


def draw_alternatives(text: str, rng: random.Random) -> str:
    """Replace each group by one of its alternatives, all equally likely. Without groups, `rng` is not used.

    Raises:
        InvalidInput: Braces do not match.
    """
    groups: list[list[str]] = [[""]]  # open groups, the innermost last, with their alternatives so far
    for escaped, mark, plain in _PIECE.findall(text):
        if mark == "{":
            groups.append([""])
        elif mark == "}":
            if len(groups) == 1:
                raise InvalidInput(msg('A "}" has no matching "{".'), msg("For a literal brace, write \\{ or \\}."))
            alternatives = groups.pop()
            groups[-1][-1] += rng.choice(alternatives) if len(alternatives) > 1 else alternatives[0]
        elif mark == "|" and len(groups) > 1:
            groups[-1].append("")
        else:
            groups[-1][-1] += escaped or mark or plain
    if len(groups) > 1:
        raise InvalidInput(msg('A "{" has no matching "}".'), msg("For a literal brace, write \\{ or \\}."))
    return groups[0][0]


def check_alternatives(text: str) -> None:
    """Check the braces of a text. Raises InvalidInput if they do not match."""
    draw_alternatives(text, random.Random(0))


def escape_alternatives(text: str) -> str:
    """Escape braces, bars and backslashes, so that `draw_alternatives` returns this text."""
    return _SPECIAL.sub(r"\\\g<0>", text)
