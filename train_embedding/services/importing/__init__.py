"""Importing files into the library: read, checked and normalised before a host could load them."""

from train_embedding.services.importing.sources import read_upload

__all__ = ["read_upload"]
