"""What becomes of jobs when the process that submitted them is gone."""
