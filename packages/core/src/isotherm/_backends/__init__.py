"""Backends: what they are, which there are, the reference and the array loop."""
