"""What a run leaves on disk, how its work is spread over processes, and where its randomness comes from."""
