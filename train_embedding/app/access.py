"""Who may enter the standalone app: the names that it answers to, passwords, and the token in the printed address."""

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
"Addresses that stand for all of this machine's."
_OWN_NAMES = (LOOPBACK, "localhost", "[::1]")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:\[\]/@]+)(?::\d{0,5})?", re.IGNORECASE)


@dataclass(frozen=True)
class Access:
    """host: the address to listen at. names: further names, as browsers send them. accounts: each USER:PASSWORD."""

    host: str = LOOPBACK
    names: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    token: str = ""
    "What opens the app in place of a password; empty for none."
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    "What the cookie of a page that was let in holds."

    @property
    def guarded(self) -> bool:
        return bool(self.accounts or self.token)

    @property
    def listens(self) -> bool:
        """Whether other machines can reach it."""
        return bracketed(self.host) not in _OWN_NAMES

    def knows(self, host: str) -> bool:
        """Whether a Host header names this server, whatever the port.

        A page of another site can have its own name lead to this machine; then the header holds that name. Numeric addresses lead
        nowhere else, so all are taken where the app listens at all addresses.
        """
        found = _HOST.fullmatch(host)
        name = found[1].lower() if found else ""
        return name in self._names or (self.host in EVERYWHERE and _is_address(name))

    def admits(self, headers: Mapping[str, str], query: bytes) -> bool:
        """Whether a request shows a password, the token or the cookie. Takes the same time for each wrong one."""
        if not self.guarded:
            return True
        kind, _, shown = headers.get("authorization", "").partition(" ")
        right = [
            kind.lower() == "basic" and _any_same(_decoded(shown), self.accounts),
            kind.lower() == "bearer" and self._is_token(shown),
            self._is_token(token_in(query)),
            self.has_cookie(headers),
        ]
        return any(right)

    def has_cookie(self, headers: Mapping[str, str]) -> bool:
        cookies = [one.strip().partition("=") for one in headers.get("cookie", "").split(";")]
        return any(name == self.cookie and _any_same(value, (self.session,)) for name, _, value in cookies)

    @property
    def cookie(self) -> str:
        """Its name. Cookies hold for all ports of a machine, so that of another app must have another name."""
        return f"train-embedding-{hashlib.sha256(self.session.encode()).hexdigest()[:8]}"

    def _is_token(self, shown: str) -> bool:
        return _any_same(shown, (self.token,) if self.token else ())

    @cached_property
    def _names(self) -> frozenset[str]:
        machine = (socket.gethostname(), socket.getfqdn(), f"{socket.gethostname()}.local") if self.listens else ()
        listening = () if self.host in EVERYWHERE else (bracketed(self.host),)
        return frozenset(name.lower() for name in (*_OWN_NAMES, *self.names, *machine, *listening))


def bracketed(host: str) -> str:
    """As an address has it: IPv6 in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def token_in(query: bytes) -> str:
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


def _any_same(shown: str, right: Sequence[str]) -> bool:
    """Compares digests, so that neither contents nor lengths can be found out by time."""
    digest = hashlib.sha256(shown.encode("utf-8", "replace")).digest()
    same = [hmac.compare_digest(digest, hashlib.sha256(one.encode("utf-8", "replace")).digest()) for one in right]
    return any(same)
