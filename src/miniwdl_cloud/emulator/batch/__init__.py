"""AWS Batch, emulated: its API, its refusals, and the life of its jobs.

What is simpler than on AWS: compute environments and queues are VALID at once; instances are not
modelled, only the vCPUs of an environment and the size of its largest instance types; jobs of one
queue start strictly in the order in which they became RUNNABLE (a job that can never start is
passed over), also where a fair-share policy would reorder them; only jobs of one container run.
"""
