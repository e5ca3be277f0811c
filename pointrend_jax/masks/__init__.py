"""Object masks in their forms: polygons, run lengths, packed bits, pasted probabilities."""
