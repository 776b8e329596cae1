"""A campaign: jobs, the processes that do them, and the file that keeps what they found."""
