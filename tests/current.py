"""Services that change from test to test, under an app or a tab that is built once."""

from __future__ import annotations

from typing import Any


class CurrentServices:
    """Passes every access on to the services of the test that runs.

    now: these services. What was taken from here earlier, `library` for example, passes on too.
    """

    def __init__(self) -> None:
        self.now: Any = None

    def __getattr__(self, name: str) -> Any:
        return _Part(self, name)


class _Part:
    """One of the services: whatever the current ones have under its name."""

    def __init__(self, services: CurrentServices, name: str) -> None:
        self._services, self._name = services, name

    def __getattr__(self, name: str) -> Any:
        return getattr(getattr(self._services.now, self._name), name)
