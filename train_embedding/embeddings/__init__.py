"""What an embedding is: vectors per text encoder, names, files, and arithmetic. Needs only torch."""
