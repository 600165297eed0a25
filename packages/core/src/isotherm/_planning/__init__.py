"""From a user's call to a plan: every check of the arguments."""
