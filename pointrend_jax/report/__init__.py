"""An evaluation as one HTML page: numbers, curves and pictures, with nothing beside it."""
