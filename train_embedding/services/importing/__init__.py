"""Files that enter the library: read, checked and normalised before a host could load them."""

from train_embedding.services.importing.sources import upload

__all__ = ["upload"]
