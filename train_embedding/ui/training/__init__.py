"""The sub-tab Train: three steps from an embedding over its images to its training, and the progress of the run."""
