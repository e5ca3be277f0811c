"""One file for each format that a data set may have."""
