"""What a run leaves on disk, how its work is spread over processes, and where its random numbers come from."""
