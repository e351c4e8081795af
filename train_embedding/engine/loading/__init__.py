"""Models from checkpoint files, diffusers folders, or the weights a host already holds."""
