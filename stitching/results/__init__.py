"""Reads the files of finished cells: cells, grids, measures. Needs no torch."""
