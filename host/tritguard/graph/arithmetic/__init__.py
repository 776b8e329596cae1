"""The integers of TensorFlow Lite Micro's kernels: fixed point, tables, and the reference of each op."""
