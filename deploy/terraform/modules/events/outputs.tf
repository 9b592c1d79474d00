output "queue_url" {
  description = "SQS queue that workflow jobs read."
  value       = aws_sqs_queue.this.url
}

output "queue_arn" {
  description = "ARN of that queue."
  value       = aws_sqs_queue.this.arn
}
