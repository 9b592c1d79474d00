output "workflow_queue" {
  description = "Batch job queue for workflow jobs."
  value       = aws_batch_job_queue.workflow.name
}

output "task_queue" {
  description = "Batch job queue for task jobs, on spot instances."
  value       = aws_batch_job_queue.task["spot"].name
}

output "task_queue_fallback" {
  description = "Batch job queue for task jobs that were interrupted too often; null without."
  value       = var.enable_task_fallback ? aws_batch_job_queue.task["fallback"].name : null
}

output "workflow_engine_role_arn" {
  description = "Job and execution role of workflow jobs."
  value       = aws_iam_role.workflow.arn
}

output "task_role_arn" {
  description = "Job role for task jobs that read S3."
  value       = aws_iam_role.task.arn
}

output "ecs_cluster" {
  description = "ECS cluster for tasks on Fargate; null without."
  value       = one(aws_ecs_cluster.tasks[*].name)
}

output "ecs_log_group" {
  description = "Log group of tasks on Fargate; null without."
  value       = one(aws_cloudwatch_log_group.tasks[*].name)
}
