"""What a lottery ticket is, how it is found, and how it is kept."""
