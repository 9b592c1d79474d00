output "cluster_name" {
  description = "ECS cluster."
  value       = aws_ecs_cluster.this.name
  # A task may come at once, and names one of them.
  depends_on = [aws_ecs_cluster_capacity_providers.this]
}

output "cluster_arn" {
  description = "ARN of the cluster."
  value       = aws_ecs_cluster.this.arn
}

output "log_group" {
  description = "Log group of tasks."
  value       = aws_cloudwatch_log_group.this.name
}

output "execution_role_arn" {
  description = "Role that ECS starts tasks with."
  value       = aws_iam_role.execution.arn
  depends_on  = [aws_iam_role_policy.start]
}
