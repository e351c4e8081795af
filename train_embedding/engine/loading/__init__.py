"""Loading of models from checkpoint files, diffusers folders, or the weights of a host."""
