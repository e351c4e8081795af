"""Training data: a folder of images, with captions and masks, as cached latents and batches."""
