"""The study of proofs: how many samples no input of a ball can break."""
