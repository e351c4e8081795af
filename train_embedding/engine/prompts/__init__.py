"""Prompts: tokenizing, the WebUI's prompt syntax, chunks of 75 tokens, and trainable vectors in them."""
