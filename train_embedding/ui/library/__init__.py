"""The Library panel of the tab."""
