"""Shared filesystems: where a path is in the job, which volumes and mount points it needs.

A filesystem is at the same path in the workflow job and in every task container.
"""
