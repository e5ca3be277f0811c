"""A trained model as a function of images: one image, many, tiles, files."""
