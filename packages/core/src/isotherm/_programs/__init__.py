"""Programs: what formulas become, and their gradients."""
