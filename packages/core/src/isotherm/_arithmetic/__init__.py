"""Numbers: the noise stream, and arithmetic that gives the same bits in every array library."""
