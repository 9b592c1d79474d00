output "workflow_queue" {
  description = "Batch job queue for workflow jobs."
  value       = aws_batch_job_queue.workflow.name
}

output "task_queue" {
  description = "Batch job queue for task jobs, on spot instances."
  value       = aws_batch_job_queue.task["task"].name
}

output "task_queue_fallback" {
  description = "Batch job queue for task jobs that were interrupted too often; null without."
  value       = var.enable_task_fallback ? aws_batch_job_queue.task["task-fallback"].name : null
}

output "task_queue_arns" {
  description = "ARNs of the queues of task jobs."
  value       = [for key in sort(keys(local.queues)) : aws_batch_job_queue.task[key].arn]
}

output "workflow_engine_role_arn" {
  description = "Job and execution role of workflow jobs."
  value       = aws_iam_role.workflow.arn
}

output "task_role_arn" {
  description = "Job role for task jobs that read S3."
  value       = aws_iam_role.task.arn
}
