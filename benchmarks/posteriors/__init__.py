"""Bayesian posteriors with known answers, written as formulas."""
