"""Chains inside a training loop, and networks that are told more than the state."""
