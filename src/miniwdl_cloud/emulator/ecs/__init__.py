"""Amazon ECS with Fargate, emulated: its API, its refusals, and the life of its tasks.

What is simpler than on AWS: there are Fargate tasks only, no services and no container instances;
a task has one container; capacity is there at once; and ExecuteCommand has no session.
"""
