"""The program `stitching`: one command line for all commands, and its shell completion."""
