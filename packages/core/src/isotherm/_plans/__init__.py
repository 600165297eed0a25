"""Plans: everything that decides a run's result, as plain data."""
