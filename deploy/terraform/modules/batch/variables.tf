variable "name" {
  description = "Name of the deployment; queues are named after it."
  type        = string
}

variable "tags" {
  description = "Tags of instances and their volumes, beside the name."
  type        = map(string)
}

variable "subnet_ids" {
  description = "Subnets of jobs."
  type        = list(string)
}

variable "security_group_id" {
  description = "Security group of jobs."
  type        = string
}

variable "file_system_arn" {
  description = "ARN of the EFS file system."
  type        = string
}

variable "access_point_id" {
  description = "EFS access point that containers mount."
  type        = string
}

variable "access_point_arn" {
  description = "ARN of the access point."
  type        = string
}

variable "mount_point" {
  description = "Where containers see the file system, if not at /mnt/efs."
  type        = string
  default     = ""
}

variable "bucket_name" {
  description = "Bucket for staged files and outputs."
  type        = string
}

variable "bucket_arn" {
  description = "ARN of that bucket."
  type        = string
}

variable "s3upload_buckets" {
  description = "Further buckets that workflows may read inputs from and upload outputs to."
  type        = list(string)
  default     = []
}

variable "s3_input_buckets" {
  description = "Further buckets that workflows may read inputs from."
  type        = list(string)
  default     = []
}

variable "create_spot_service_roles" {
  description = "Make the service-linked role of EC2 Spot."
  type        = bool
  default     = false
}

variable "task_max_vcpus" {
  description = "Most vCPUs of task jobs, in each compute environment for them."
  type        = number
  default     = 256
}

variable "workflow_max_vcpus" {
  description = "Most vCPUs of workflow jobs."
  type        = number
  default     = 64
}

variable "spot_bid_percentage" {
  description = "Highest spot price, in percent of the on-demand price."
  type        = number
  default     = 100
}

variable "task_instance_types" {
  description = "Instance families or types for task jobs, all of x86-64."
  type        = list(string)
}

variable "task_root_volume_gib" {
  description = "Size of each task instance's root volume in GiB."
  type        = number
  default     = 100
}

variable "enable_task_fallback" {
  description = "Make a queue of on-demand instances, for tasks that were interrupted too often."
  type        = bool
  default     = true
}

variable "enable_fargate" {
  description = "Make an ECS cluster, which the engine aws_fargate runs tasks in."
  type        = bool
  default     = true
}
