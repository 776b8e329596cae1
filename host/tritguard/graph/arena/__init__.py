"""Where tensors and scratch lie in the one static arena, and which layers run in stripes."""
