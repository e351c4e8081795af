"""The widgets of Combine as an expression, so that both go the same way."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from train_embedding.errors import InvalidInput

INPUTS = 6
SUM, AVERAGE, CONCATENATE = "sum", "average", "concat"
WAYS = (("Weighted sum", SUM), ("Mean", AVERAGE), ("One after another", CONCATENATE))
_BARE = re.compile(r"[^\W\d][\w-]*")
"A name that needs no quotes in a formula."


def expression_of(way: str, names: Sequence[str], weights: Sequence[Any]) -> str:
    """Such as `0.5 * my-cat + 0.5 * 'my dog'`; rows without a name are left out, and words stand in double quotes.

    Raises InvalidInput where no row has a name.
    """
    rows = [(name.strip(), weight) for name, weight in zip(names, weights, strict=True) if name and name.strip()]
    if not rows:
        raise InvalidInput("No embedding is named.", "Write a name into at least one row.")
    terms = [_term(name, 1 if weight is None else weight) for name, weight in rows]
    return " + ".join(terms) if way == SUM else f"{way}({', '.join(terms)})"


def _term(name: str, weight: float) -> str:
    return _quoted(name) if weight == 1 else f"{weight:g} * {_quoted(name)}"


def _quoted(name: str) -> str:
    if (_BARE.fullmatch(name) and name != "like") or (len(name) > 2 and name[0] == name[-1] == '"'):
        return name
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
