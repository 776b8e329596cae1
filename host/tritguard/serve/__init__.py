"""A local page with the runs of a folder: under way, done, side by side, and the boards that they ran on."""
