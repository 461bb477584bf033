"""From a name to a network, and to its prunable tensors."""
