"""Permissions in tests, which often run as root."""

from __future__ import annotations

WITHOUT_RIGHTS = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
"Before a command: permissions then bind even root."
