"""Warm-ups: pilot chains that find the numbers which nobody wants to guess."""
