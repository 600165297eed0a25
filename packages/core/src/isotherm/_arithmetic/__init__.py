"""Noise and arithmetic: the same bits in every array library."""
