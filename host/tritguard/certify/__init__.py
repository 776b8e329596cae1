"""Sound bounds on what the deployed integers compute, for all inputs of a ball at once."""
