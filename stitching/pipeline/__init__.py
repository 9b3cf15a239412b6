"""One cell: encode, fit, decode, score."""
