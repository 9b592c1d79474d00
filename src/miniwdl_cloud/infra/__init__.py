"""Deployment: CloudFormation templates, and what brings them into an account."""
