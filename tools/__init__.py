"""Scripts for developers, run from the root of a clone: `python -m tools.NAME`."""
