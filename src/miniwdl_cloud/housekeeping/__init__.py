"""What runs leave on the shared filesystem: found, measured, and deleted on request."""
