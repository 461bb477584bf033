"""`python -m lottery_pools`."""

from lottery_pools.cli import main

if __name__ == "__main__":
    main()
