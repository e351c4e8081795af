"""Access control of the standalone app: host names, accounts, and the token in the printed address."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import re
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import parse_qs

LOOPBACK = "127.0.0.1"
EVERYWHERE = ("0.0.0.0", "::")
"Addresses that mean all addresses of this machine."
_OWN_NAMES = (LOOPBACK, "localhost", "[::1]")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:\[\]/@]+)(?::\d{0,5})?", re.IGNORECASE)


@dataclass(frozen=True)
class Access:
    """Who may use the standalone app.

    Attributes:
        host: The address to listen at.
        names: Further host names that are accepted in the Host header.
        accounts: Accounts of the form USER:PASSWORD.
        token: Opens the app in place of a password; empty for none.
        session: Value of the cookie of a browser that is signed in.
    """

    host: str = LOOPBACK
    names: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    token: str = ""
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    @property
    def guarded(self) -> bool:
        """Whether an account or the token is needed."""
        return bool(self.accounts or self.token)

    @property
    def listens(self) -> bool:
        """Whether other machines can reach the app."""
        return bracketed(self.host) not in _OWN_NAMES

    def is_own_host(self, host: str) -> bool:
        """Return whether a Host header names this server, on any port.

        Another site can make its own name resolve to this machine (DNS rebinding); the header then contains that name. Numeric
        addresses cannot be rebound, so all of them are accepted if the app listens at all addresses.
        """
        found = _HOST.fullmatch(host)
        name = found[1].lower() if found else ""
        return name in self._names or (self.host in EVERYWHERE and _is_address(name))

    def admits(self, headers: Mapping[str, str], query: bytes) -> bool:
        """Return whether a request has a correct password, token or cookie, in a time that does not depend on wrong ones."""
        if not self.guarded:
            return True
        kind, _, credentials = headers.get("authorization", "").partition(" ")
        checks = [
            kind.lower() == "basic" and _any_same(_decoded(credentials), self.accounts),
            kind.lower() == "bearer" and self._is_token(credentials),
            self._is_token(token_in(query)),
            self.has_cookie(headers),
        ]
        return any(checks)

    def has_cookie(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request has the cookie of a browser that is signed in."""
        cookies = [cookie.strip().partition("=") for cookie in headers.get("cookie", "").split(";")]
        return any(name == self.cookie and _any_same(value, (self.session,)) for name, _, value in cookies)

    @property
    def cookie(self) -> str:
        """Name of the cookie. Browsers send cookies to all ports of a machine, so each app needs its own name."""
        return f"train-embedding-{hashlib.sha256(self.session.encode()).hexdigest()[:8]}"

    def _is_token(self, text: str) -> bool:
        return _any_same(text, (self.token,) if self.token else ())

    @cached_property
    def _names(self) -> frozenset[str]:
        machine = (socket.gethostname(), socket.getfqdn(), f"{socket.gethostname()}.local") if self.listens else ()
        listening = () if self.host in EVERYWHERE else (bracketed(self.host),)
        return frozenset(name.lower() for name in (*_OWN_NAMES, *self.names, *machine, *listening))


def bracketed(host: str) -> str:
    """Return a host as URLs write it: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def token_in(query: bytes) -> str:
    """Return the token in a query string; empty if there is none."""
    return parse_qs(query.decode("latin-1"), max_num_fields=100).get("token", [""])[0] if b"token=" in query else ""


def _is_address(name: str) -> bool:
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return not address.is_unspecified


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return ""


def _any_same(text: str, known: Sequence[str]) -> bool:
    """Compare digests, so that the time reveals neither the contents nor the lengths of the known texts."""
    digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
    same = [hmac.compare_digest(digest, hashlib.sha256(secret.encode("utf-8", "replace")).digest()) for secret in known]
    return any(same)
