"""From a name or a path to samples: training, validation, test."""
