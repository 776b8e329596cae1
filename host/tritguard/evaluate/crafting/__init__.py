"""Carrying out attacks: jobs, the processes that do them, and the folder that keeps what they found."""
