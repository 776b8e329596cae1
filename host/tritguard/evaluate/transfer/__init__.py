"""How attacks carry over between float, int8 and ternary models."""
