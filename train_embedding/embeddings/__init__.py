"""Embeddings: vectors, names, file formats and arithmetic. Depends only on torch."""
