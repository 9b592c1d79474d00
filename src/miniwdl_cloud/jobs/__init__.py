"""Dispatching jobs to a queue service: engine-neutral, without WDL and without boto3."""
