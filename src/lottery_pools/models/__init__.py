"""Networks: built from their name, and which of their tensors are pruned."""
