"""Layers that skip the work and memory of weight gradients, since the weights are never trained."""
