"""`python -m lottery_pools`."""

from lottery_pools.cli.commands import main

if __name__ == "__main__":
    main()
