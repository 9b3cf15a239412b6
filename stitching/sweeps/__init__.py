"""Jobs and sweeps: start, files, identity of cells."""
