"""The evidence of a run as a folder to file: written once, and checked by anybody who has it."""
