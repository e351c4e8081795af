"""Training of textual-inversion embeddings with diffusers, independent of hosts and user interfaces."""
