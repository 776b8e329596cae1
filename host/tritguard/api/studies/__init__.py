"""The studies of a deployed model, one a file: each leaves its result as JSON and its report as HTML."""
