"""Checkpoints of other software in, networks for other software out."""
