"""The page on which one zooms into predictions, and the small server of this machine behind it."""
