"""A report of one run, from its run directory alone."""
