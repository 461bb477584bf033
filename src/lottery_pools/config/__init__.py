"""Settings: what an experiment can be told, and how that is written down. Imports nothing heavy."""
