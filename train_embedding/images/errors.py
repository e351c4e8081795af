"""Why an image was not decoded. Messages are the ends of sentences, without a full stop."""

from __future__ import annotations


class NotDecoded(Exception):
    """The image is damaged, or of a type that is not decoded."""


class TooCostly(NotDecoded):
    """Decoding it would take more memory or time than its limits allow."""


class TooManyPixels(TooCostly):
    """The image has more pixels than its limits allow. size: width and height."""

    def __init__(self, reason: str, size: tuple[int, int]) -> None:
        super().__init__(reason)
        self.size = size
