"""Renders a result for people: a terminal summary and one self-contained HTML file. Reads `Result`, nothing else."""
