"""Train Embedding: creates, trains and looks after textual-inversion embeddings."""

__version__ = "0.1.0"
