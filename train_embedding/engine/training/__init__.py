"""The training loop and its parts: losses, optimizers, evaluation, early stopping, resuming."""
