"""What every network is measured by, and why a gain came about."""
