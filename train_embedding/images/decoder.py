"""Decode images in a separate process with limits on memory and time, so that a malicious image can end only that process."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train_embedding.images import webp
from train_embedding.images.errors import NotDecoded, TooCostly, TooManyPixels
from train_embedding.images.kinds import KINDS
from train_embedding.images.limits import Limits
from train_embedding.images.metadata import strip_metadata
from train_embedding.messages import NOTHING, Message, msg, verbatim

if TYPE_CHECKING:
    from PIL import Image

SCRIPT = Path(__file__).with_name("decoder_process.py")
_CHANNELS = 4
_MAX_WAIT = 10
"The process is killed after this many times the limit of CPU time has passed on the clock."


def check_image(data: bytes, kind: str, limits: Limits) -> tuple[int, int]:
    """Check that an image can be decoded.

    Args:
        data: The file.
        kind: A key of `kinds.KINDS`; it is opened only as this kind.
        limits: The limits for decoding it.

    Returns:
        Width and height.

    Raises:
        NotDecoded: As `decode_image`.
    """
    answer, _ = _decode(data, kind, limits)
    return tuple(answer["size"])


def decode_image(data: bytes, kind: str, limits: Limits, *, mode: str = "", side: int = 0) -> Image.Image:
    """Decode an image, or the first frame of an animation.

    Args:
        data: The file.
        kind: A key of `kinds.KINDS`; it is opened only as this kind.
        limits: The limits for decoding it.
        mode: The mode of the result; if empty, one that shows the image completely.
        side: Maximum width and height in pixels, to which the image is reduced; 0 for its full size.

    Returns:
        The image. Its Exif data is in `info["exif"]`, except for kinds whose metadata `metadata.strip_metadata` removes.

    Raises:
        TooManyPixels: It has more pixels than the limits allow.
        TooCostly: Decoding it takes more memory or time than the limits allow.
        NotDecoded: It is damaged, or the kind is not supported here.
    """
    answer, content = _decode(data, kind, limits, mode=mode, side=side, wanted=True)
    from PIL import Image

    image = Image.frombytes(answer["mode"], tuple(answer["size"]), content)
    if answer["exif"]:
        image.info["exif"] = bytes.fromhex(answer["exif"])
    return image


def decode_colours(data: bytes, kind: str, limits: Limits) -> tuple[tuple[int, int], bytes]:
    """Decode an image to RGB.

    Args:
        data: The file.
        kind: A key of `kinds.KINDS`; it is opened only as this kind.
        limits: The limits for decoding it.

    Returns:
        Width and height, and three bytes per pixel, row by row.

    Raises:
        NotDecoded: As `decode_image`.
    """
    answer, content = _decode(data, kind, limits, mode="RGB", wanted=True)
    return tuple(answer["size"]), content


def _decode(data: bytes, kind: str, limits: Limits, **wanted: Any) -> tuple[dict[str, Any], bytes]:
    stripped = strip_metadata(data, kind)
    return _run(job_of(stripped, kind, limits, **wanted), stripped, limits.seconds)


def _refusal(answer: dict[str, Any], job: dict[str, Any]) -> NotDecoded:
    """Return the error for an answer of the process without an image."""
    match answer["refused"]:
        case "pixels":
            return TooManyPixels(tuple(answer["size"]))
        case "memory":
            return TooCostly(msg("it needs more memory than allowed"))
        case "plugin":
            package = f"{job['plugin'].replace('_', '-')}-plugin"
            return NotDecoded(msg("Pillow needs the package {package} for it", package=package))
        case "damaged":
            return NotDecoded(msg("it is damaged, or not an image of this kind"))
        case _:
            return NotDecoded(verbatim(answer["error"]))


def job_of(data: bytes, kind: str, limits: Limits, *, mode: str = "", side: int = 0, wanted: bool = False) -> dict[str, Any]:
    """Return the line of JSON that the process gets before the file.

    Args:
        data: The file.
        kind: A key of `kinds.KINDS`.
        limits: The limits for decoding it.
        mode: As `decode_image`.
        side: As `decode_image`.
        wanted: Whether to return the pixels.

    Raises:
        TooManyPixels: The header of a WebP file shows it; its decoder would allocate the memory before any check.
    """
    size = webp.size_of(data) if kind == "WEBP" else (0, 0)
    if size[0] * size[1] > limits.max_pixels:
        raise TooManyPixels(size)
    known = KINDS[kind]
    return {
        "kind": kind, "plugin": known.plugin, "register": known.register, "max_pixels": limits.max_pixels,
        "memory": limits.memory, "seconds": limits.seconds, "mode": mode, "side": side, "wanted": wanted, "length": len(data),
    }  # fmt: skip


class _Decoder:
    """A running decoder process."""

    def __init__(self) -> None:
        command = [sys.executable or "python", str(SCRIPT)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def answer(self, job: dict[str, Any], data: bytes, seconds: float) -> tuple[dict[str, Any], bytes] | None:
        """Send a job; return the answer and the pixels, or None if the process ended, which `end_reason` explains."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        guard = threading.Timer(_MAX_WAIT * seconds, self._process.kill)
        guard.daemon = True
        guard.start()
        try:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.write(data)
            self._process.stdin.flush()
            line = self._process.stdout.readline()
            answer = json.loads(line)
            length = answer["length"]
            content = self._process.stdout.read(length) if 0 <= length <= _CHANNELS * job["max_pixels"] else b""
        except (OSError, ValueError, KeyError):  # the process ended before it had answered completely
            return None
        finally:
            guard.cancel()
        return (answer, content) if len(content) == length else None

    def end_reason(self) -> Message:
        """Return why the process ended; nothing if it was idle for too long."""
        self.close()
        code = -(self._process.returncode or 0)
        if code == getattr(signal, "SIGALRM", None):
            return NOTHING
        slow = code in (getattr(signal, "SIGPROF", None), getattr(signal, "SIGKILL", None))
        return msg("decoding it takes too long") if slow else msg("it crashes the decoder")

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:  # the rest of the buffer cannot be written any more
                continue
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class _Shared:
    """The decoder process that is kept for the next image. One image is decoded at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.decoder: _Decoder | None = None


_shared = _Shared()
_inherited: list[_Shared] = []
"Decoders of the parent process after a fork, kept so that they are neither used nor closed."


def _run(job: dict[str, Any], data: bytes, seconds: float) -> tuple[dict[str, Any], bytes]:
    with _shared.lock:
        while True:
            fresh = _shared.decoder is None
            decoder = _shared.decoder or _start()
            _shared.decoder = None  # until it has answered
            answer = decoder.answer(job, data, seconds)
            if answer is not None:
                _shared.decoder = decoder
                break
            reason = decoder.end_reason()
            if reason or fresh:
                raise TooCostly(reason or msg("the decoder ended unexpectedly"))
    if "refused" in answer[0]:
        raise _refusal(answer[0], job)
    return answer


def _start() -> _Decoder:
    _prepare()
    try:
        return _Decoder()
    except OSError as error:
        reason = verbatim(error.strerror or str(error))
        raise NotDecoded(msg("the decoder could not be started: {reason}", reason=reason)) from error


@lru_cache(maxsize=1)
def _prepare() -> None:
    """Make the decoder end together with this process, and forked processes start their own."""
    atexit.register(_close)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forget)


def _close() -> None:
    if _shared.decoder is not None:
        _shared.decoder.close()
        _shared.decoder = None


def _forget() -> None:
    global _shared  # the forked process starts its own decoder
    _inherited.append(_shared)
    _shared = _Shared()
