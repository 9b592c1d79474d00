# The names are those of the CloudFormation template's outputs, as Terraform spells names.

output "workflow_queue" {
  description = "Batch job queue for workflow jobs (miniwdl-aws-submit --workflow-queue)."
  value       = module.batch.workflow_queue
  # A workflow job may come at once; it needs to reach AWS, and somewhere to mount.
  depends_on = [module.network, module.storage]
}

output "task_queue" {
  description = "Batch job queue for task jobs, on spot instances."
  value       = module.batch.task_queue
}

output "task_queue_fallback" {
  description = "Batch job queue for task jobs that were interrupted too often; null without."
  value       = module.batch.task_queue_fallback
}

output "file_system_id" {
  description = "FSx for Lustre file system."
  value       = module.storage.file_system_id
}

output "linked_location" {
  description = "S3 location that the file system's root (/mnt/fsx) is linked to."
  value       = module.storage.linked_uri
}

output "bucket_name" {
  description = "S3 bucket for staged files (under stage/) and outputs."
  value       = module.bucket.name
}

output "workflow_engine_role_arn" {
  description = "Job and execution role of workflow jobs."
  value       = module.batch.workflow_engine_role_arn
}

output "task_role_arn" {
  description = "Job role for task jobs that read S3."
  value       = module.batch.task_role_arn
}

output "security_group_id" {
  description = "Security group of jobs and of the file system."
  value       = module.network.security_group_id
}

output "vpc_id" {
  description = "VPC of everything."
  value       = module.network.vpc_id
}

output "subnet_ids" {
  description = "Subnets."
  value       = module.network.subnet_ids
}
