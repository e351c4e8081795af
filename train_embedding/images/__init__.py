"""Image files: identified by their signatures and decoded in a separate process."""
