"""Run one cell of the grid; with -m, a whole grid. `python launch.py --help` lists all options."""

from stitching.sweeps.launch import launch

if __name__ == "__main__":
    launch()
