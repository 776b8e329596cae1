"""What attacks leave of a deployed model's accuracy, and whether that number can be believed."""
