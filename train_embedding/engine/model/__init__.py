"""The frozen diffusion model that an embedding is trained against."""
