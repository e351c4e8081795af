"""Makes the demo checkpoint from a seed: `python -m train_embedding.demo.maker`."""
