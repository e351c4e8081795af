"""The sections of a diagnosis, and what is said about a WebUI and the extension in it."""

from __future__ import annotations

from train_embedding.services.diagnosis import diagnose as _diagnose_function  # noqa: F401
