"""Segmentation models: one face over Hugging Face networks, attention taps, the growing classifier."""
