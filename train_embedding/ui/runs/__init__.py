"""The Runs panel: the history of runs, and what can be done with each."""
