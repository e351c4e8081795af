"""Metadata keys that this package writes into embedding files."""

INIT_TEXT = "init_text"
"The init text."
MADE_FROM = "made_from"
"The formula that the vectors were computed with."
APPROXIMATE = "approximate"
"Which vectors are approximations, and how good they are."
VECTORS = "vectors"
'"auto" if the first training may still change the number of vectors.'
