"""Pictures and plots from numbers."""
