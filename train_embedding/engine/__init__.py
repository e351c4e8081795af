"""Training of textual-inversion embeddings on diffusers. Knows no user interface and no host."""
