"""Formulas over embeddings, such as `0.5 * cat + dog`: tokenizer, parser and evaluation."""
