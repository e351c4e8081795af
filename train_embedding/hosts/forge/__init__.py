"""Stable Diffusion WebUI Forge, and reForge, which shares its model code."""
