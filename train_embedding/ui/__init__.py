"""The Train Embedding tab, built with gradio."""
