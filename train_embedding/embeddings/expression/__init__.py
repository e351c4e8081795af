"""Formulas over embeddings, such as `0.5 * cat + dog`: parsed to a tree, then computed."""
