"""Image data sets: drawn faces, the CelebA layout, any folder."""
