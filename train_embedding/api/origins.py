"""Which requests may change something: those of no other site's page, with a body of the right type."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from fastapi import Depends, Request

from train_embedding.errors import NotAllowed, WrongBodyType

SAFE_METHODS = ("GET", "HEAD")
"They change nothing here."
JSON = "application/json"
_OWN = ("same-origin", "none")
"What browsers say of requests by a page of this server, and by a person: an address typed, a bookmark."

AllowsOrigin = Callable[[str], bool]
"Whether pages of another origin, such as https://example.com, may send requests."


def allows_none(_origin: str) -> bool:
    return False


def allows(origins: Sequence[str], pattern: str = "") -> AllowsOrigin:
    """As Starlette reads the same two settings: a list in which "*" stands for all, and a regular expression."""

    def allowed(origin: str) -> bool:
        return "*" in origins or origin in origins or bool(pattern and re.fullmatch(pattern, origin))

    return allowed


def check_origin(headers: Mapping[str, str], allowed: AllowsOrigin = allows_none) -> None:
    """Raises NotAllowed for what a browser sends for a page of another origin; other programs name no origin.

    Browsers let no page change Sec-Fetch-Site, Origin and Host, so what they say can be relied on. Old browsers, and all over
    plain HTTP on another machine, leave out the first. X-Forwarded-Host does not count: under a host that answers every
    preflight with yes, a page may send it.
    """
    origin, site = headers.get("origin", ""), headers.get("sec-fetch-site", "")
    source = origin or headers.get("referer", "")
    same = site in _OWN if site else not source or _place(urlsplit(source).netloc) == _place(headers.get("host", ""))
    if not same and not (origin and allowed(origin)):
        raise NotAllowed("The request comes from a page of another site.", "Send it from this server's own page or a program.")


def check_body_type(headers: Mapping[str, str]) -> None:
    """Raises WrongBodyType for a body that does not say that it is JSON: a form of another site's page cannot say so."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    if kind != JSON and (kind or has_body):
        raise WrongBodyType(
            f'The body\'s type is "{kind[:60]}".' if kind else "The body has no type.", f'Send the header "Content-Type: {JSON}".'
        )


def checked(allowed: AllowsOrigin) -> Any:
    """The dependency that holds a route to both rules."""

    async def check(request: Request) -> None:
        if request.method not in SAFE_METHODS:
            check_origin(request.headers, allowed)
            check_body_type(request.headers)

    return Depends(check)


def _place(netloc: str) -> str:
    """Host and port without what is left out where it is usual."""
    return netloc.rpartition("@")[2].lower().removesuffix(":80").removesuffix(":443")
