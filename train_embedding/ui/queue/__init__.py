"""The training queue in the tab: its list, its buttons, and the button that adds a training."""
