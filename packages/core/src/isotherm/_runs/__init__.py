"""Running a plan: chains on their way, on this machine or on others."""
