"""Keys of the free metadata that this package writes into embedding files."""

INIT_TEXT = "init_text"
"The text that the vectors were first filled with."
MADE_FROM = "made_from"
"The formula that the vectors were computed by."
APPROXIMATE = "approximate"
"What is approximate about the vectors, and how close it is."
