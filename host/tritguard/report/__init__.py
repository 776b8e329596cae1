"""Shows results to people, in the terminal and as one HTML file that loads nothing; reads results and nothing else."""
