"""The studies of a deployed model, one in each file; each leaves its result as JSON and its report as HTML."""
