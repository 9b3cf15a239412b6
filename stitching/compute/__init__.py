"""Numerics and processes: linear algebra, batches, threads, seeds, devices, images, progress."""
