"""Protection against requests by pages of other sites (CSRF)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from fastapi import Depends, Request

from train_embedding.errors import NotAllowed, WrongBodyType
from train_embedding.messages import msg

SAFE_METHODS = ("GET", "HEAD")
"Methods whose requests change nothing here."
JSON = "application/json"
_OWN = ("same-origin", "none")
"Values of Sec-Fetch-Site for requests by a page of this server, and by the user: a typed address, a bookmark."

AllowsOrigin = Callable[[str], bool]
"Whether pages of another origin, such as https://example.com, may send requests."


def allows_none(_origin: str) -> bool:
    """Allow no other origin."""
    return False


def allows(origins: Sequence[str], pattern: str = "") -> AllowsOrigin:
    """Return a check like that of Starlette's CORS middleware.

    Args:
        origins: The allowed origins; "*" allows all.
        pattern: A regular expression for further origins.
    """

    def allowed(origin: str) -> bool:
        return "*" in origins or origin in origins or bool(pattern and re.fullmatch(pattern, origin))

    return allowed


def check_origin(headers: Mapping[str, str], allowed: AllowsOrigin = allows_none) -> None:
    """Check that a request does not come from a page of another origin. Requests of other programs have no origin.

    Browsers let no page set Sec-Fetch-Site, Origin or Host, so these headers can be trusted. Old browsers, and all browsers over
    plain HTTP to another machine, leave out Sec-Fetch-Site. X-Forwarded-Host is ignored: a page may set it if the host allows
    every CORS preflight.

    Args:
        headers: Of the request.
        allowed: Other origins that are allowed.

    Raises:
        NotAllowed: The request comes from a page of another origin.
    """
    origin, site = headers.get("origin", ""), headers.get("sec-fetch-site", "")
    source = origin or headers.get("referer", "")
    same = site in _OWN if site else not source or _place(urlsplit(source).netloc) == _place(headers.get("host", ""))
    if not same and not (origin and allowed(origin)):
        raise NotAllowed(
            msg("The request comes from a page of another site."), msg("Send it from a page of this server or from a program.")
        )


def check_body_type(headers: Mapping[str, str]) -> None:
    """Check that a body is declared as JSON, which a form on a page of another site cannot do.

    Raises:
        WrongBodyType: It is not.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    if kind != JSON and (kind or has_body):
        raise WrongBodyType(
            msg('The body has the content type "{kind}".', kind=kind[:60]) if kind else msg("The body has no content type."),
            msg('Send the header "{header}".', header=f"Content-Type: {JSON}"),
        )


def checked(allowed: AllowsOrigin) -> Any:
    """Return a FastAPI dependency that checks the origin and the body type of a request."""

    async def check(request: Request) -> None:
        if request.method not in SAFE_METHODS:
            check_origin(request.headers, allowed)
            check_body_type(request.headers)

    return Depends(check)


def _place(netloc: str) -> str:
    """Return host and port, without a default port."""
    return netloc.rpartition("@")[2].lower().removesuffix(":80").removesuffix(":443")
