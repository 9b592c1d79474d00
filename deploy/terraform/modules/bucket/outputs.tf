output "name" {
  description = "S3 bucket for staged files (under stage/) and outputs."
  value       = aws_s3_bucket.this.id
}

output "arn" {
  description = "ARN of the bucket."
  value       = aws_s3_bucket.this.arn
}
