"""One file, one row of the comparison."""
