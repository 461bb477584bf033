"""A sparse network as C, compiled for exactly its weights."""
