"""Mixed precision, loss scaling and gradient checkpointing."""
