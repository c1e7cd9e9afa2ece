"""One HTML page about one run or several: figures, curves, classes, pictures, settings."""
