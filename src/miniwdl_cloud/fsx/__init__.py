"""From FSx for Lustre back to S3: `fsx_to_s3` and the miniwdl plugin that uses it."""
