"""Finds what keeps Train Embedding from working, with nothing but the standard library: packages, the WebUI, folders, device."""

from train_embedding.services.diagnosis.report import Check, Section
from train_embedding.services.diagnosis.sections import diagnose, find_webui

__all__ = ["Check", "Section", "diagnose", "find_webui"]
