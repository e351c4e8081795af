"""Comparing the steps of a run in the tab."""
