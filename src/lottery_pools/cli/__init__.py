"""The command line: parse the options, call one function, print its result. Imports torch only when it must."""

from lottery_pools.cli.commands import main

__all__ = ["main"]
