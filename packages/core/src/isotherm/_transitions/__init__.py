"""Transitions: how each sampler's state goes from one step to the next, written once."""
