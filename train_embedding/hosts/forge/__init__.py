"""Forge and reForge as hosts."""
