"""Data sets: from a name or a path to training, validation and test samples."""
