"""Images and masks: sources, the class stream, augmentation, loading."""
