"""Image files: recognised by their first bytes, and decoded in a process of their own."""
