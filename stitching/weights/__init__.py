"""Weight files: where they are, how they are read, verified and loaded."""
