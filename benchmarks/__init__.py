"""The benchmarks of docs/benchmarks.md; each is a command that runs in a clone."""
