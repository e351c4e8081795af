"""Image files: which kinds are read, told by how they begin, and decoded where a broken one can do no harm."""
