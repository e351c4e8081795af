"""The Dataset panel: what training will see of each image, and changes of images and captions."""
