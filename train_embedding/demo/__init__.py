"""The demo checkpoint, its sample datasets, and the demo run."""
