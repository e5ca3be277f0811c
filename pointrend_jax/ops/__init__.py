"""Pure functions on arrays: geometry, sampling, matching, losses. They know no network."""
