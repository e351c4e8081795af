"""Errors of decoding images."""

from __future__ import annotations

from train_embedding.messages import Message, msg


class NotDecoded(Exception):
    """The image is damaged, or of a type that is not supported.

    Attributes:
        reason: Why it was not decoded: the end of a sentence, without a period.
    """

    def __init__(self, reason: Message) -> None:
        super().__init__(reason)
        self.reason = reason


class TooCostly(NotDecoded):
    """Decoding the image would take more memory or time than its limits allow."""


class TooManyPixels(TooCostly):
    """The image has more pixels than its limits allow.

    Attributes:
        size: Width and height.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__(msg("it has {width} × {height} pixels, which is too many", width=size[0], height=size[1]))
        self.size = size
