"""Energies: formulas, the Gaussian, and what is known of a user's own."""
