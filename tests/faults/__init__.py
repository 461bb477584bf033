"""Faults: what the project does when it is killed, interrupted, refused by the disk, or given damaged files.

`python -m tests.faults` runs all of it for longer than the tests do and writes docs/reliability.md.
"""
