"""Images decoded in a process of their own, within limits on memory and time, so that a hostile one ends that process alone."""

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

if TYPE_CHECKING:
    from PIL import Image

SCRIPT = Path(__file__).with_name("decoder_process.py")
_CHANNELS = 4
_PATIENCE = 10
"How many times the processor's seconds go by on the clock before the process is ended."


def check_image(data: bytes, kind: str, limits: Limits) -> tuple[int, int]:
    """Decode an image completely, only to see that this works.

    Returns:
        Width and height.

    Raises:
        NotDecoded: As `decode_image`.
    """
    answer, _ = _decode(data, kind, limits)
    return tuple(answer["size"])


def decode_image(data: bytes, kind: str, limits: Limits, *, mode: str = "", side: int = 0) -> Image.Image:
    """Decode an image, of an animation its first frame.

    Args:
        data: The file.
        kind: One of `kinds.KINDS`; it is opened as nothing else.
        limits: What it may take.
        mode: The mode wanted; if empty, one that keeps all that the image shows.
        side: The longest side wanted, in pixels; 0 for the image as it is.

    Returns:
        The image. If its metadata is not stripped (see `metadata.strip_metadata`), its Exif data is in `info["exif"]`.

    Raises:
        NotDecoded: It is damaged, or (TooManyPixels, TooCostly) would take more than the limits.
    """
    answer, content = _decode(data, kind, limits, mode=mode, side=side, wanted=True)
    from PIL import Image

    image = Image.frombytes(answer["mode"], tuple(answer["size"]), content)
    if answer["exif"]:
        image.info["exif"] = bytes.fromhex(answer["exif"])
    return image


def decode_colours(data: bytes, kind: str, limits: Limits) -> tuple[tuple[int, int], bytes]:
    """Decode an image to RGB.

    Returns:
        Width and height, and three bytes for each pixel, row after row.

    Raises:
        NotDecoded: As `decode_image`.
    """
    answer, content = _decode(data, kind, limits, mode="RGB", wanted=True)
    return tuple(answer["size"]), content


def _decode(data: bytes, kind: str, limits: Limits, **wanted: Any) -> tuple[dict[str, Any], bytes]:
    stripped = strip_metadata(data, kind)
    return _ask(job_of(stripped, kind, limits, **wanted), stripped, limits.seconds)


def _refusal(answer: dict[str, Any]) -> NotDecoded:
    reason = answer["refused"]
    if "size" in answer:
        return TooManyPixels(reason, tuple(answer["size"]))
    return TooCostly(reason) if "costly" in answer else NotDecoded(reason)


def job_of(data: bytes, kind: str, limits: Limits, *, mode: str = "", side: int = 0, wanted: bool = False) -> dict[str, Any]:
    """What the process is told, in a line of JSON before the file. wanted: whether the pixels are, too.

    Raises:
        TooManyPixels: A WebP file says so, whose decoder makes room for them before anything can be checked.
    """
    size = webp.size_of(data) if kind == "WEBP" else (0, 0)
    if size[0] * size[1] > limits.max_pixels:
        raise TooManyPixels(f"it has {size[0]} × {size[1]} pixels, which is too many", size)
    known = KINDS[kind]
    return {
        "kind": kind, "plugin": known.plugin, "register": known.register, "max_pixels": limits.max_pixels,
        "memory": limits.memory, "seconds": limits.seconds, "mode": mode, "side": side, "wanted": wanted, "length": len(data),
    }  # fmt: skip


class _Decoder:
    """The process, once it is started."""

    def __init__(self) -> None:
        command = [sys.executable or "python", str(SCRIPT)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def answer(self, job: dict[str, Any], data: bytes, seconds: float) -> tuple[dict[str, Any], bytes] | None:
        """What it answers; None where it came to its end instead, which `ended` explains."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        guard = threading.Timer(_PATIENCE * seconds, self._process.kill)
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
        except (OSError, ValueError, KeyError):  # the process is gone, in the middle of its answer or before it
            return None
        finally:
            guard.cancel()
        return (answer, content) if len(content) == length else None

    def ended(self) -> str:
        """Why it came to its end. Empty where it had waited too long for work."""
        self.close()
        code = -(self._process.returncode or 0)
        if code == getattr(signal, "SIGALRM", None):
            return ""
        slow = code in (getattr(signal, "SIGPROF", None), getattr(signal, "SIGKILL", None))
        return "decoding it takes too long" if slow else "the decoder was ended by it"

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:  # what was left in it cannot be written any more
                continue
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class _Kept:
    """The decoder that waits for the next image. One image is decoded at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.decoder: _Decoder | None = None


_kept = _Kept()
_of_parents: list[_Kept] = []
"Decoders of the process that this one was forked from, which are not to be spoken to, nor ended."


def _ask(job: dict[str, Any], data: bytes, seconds: float) -> tuple[dict[str, Any], bytes]:
    with _kept.lock:
        while True:
            fresh = _kept.decoder is None
            decoder = _kept.decoder or _started()
            _kept.decoder = None  # until it has answered
            answer = decoder.answer(job, data, seconds)
            if answer is not None:
                _kept.decoder = decoder
                break
            reason = decoder.ended()
            if reason or fresh:
                raise TooCostly(reason or "the decoder came to its end")
    if "refused" in answer[0]:
        raise _refusal(answer[0])
    return answer


def _started() -> _Decoder:
    _prepare()
    try:
        return _Decoder()
    except OSError as error:
        raise NotDecoded(f"no process could be started to decode it: {error.strerror or error}") from error


@lru_cache(maxsize=1)
def _prepare() -> None:
    """Has the decoder end with this process, and be another one in processes that are forked from it."""
    atexit.register(_close)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forget)


def _close() -> None:
    if _kept.decoder is not None:
        _kept.decoder.close()
        _kept.decoder = None


def _forget() -> None:
    global _kept  # a process that was forked begins anew
    _of_parents.append(_kept)
    _kept = _Kept()
