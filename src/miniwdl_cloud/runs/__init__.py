"""The operator's view of runs, from AWS Batch's API and the jobs' tags alone."""
