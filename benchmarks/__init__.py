"""What the figures of README and docs/benchmarks.md come from; one command each, from a clone."""
