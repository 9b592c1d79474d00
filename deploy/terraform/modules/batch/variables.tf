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

variable "efs" {
  description = "EFS file system that containers mount, and its access point; this or fsx."
  type = object({
    file_system_arn  = string
    access_point_id  = string
    access_point_arn = string
  })
  default = null
}

variable "fsx" {
  description = "FSx for Lustre file system that instances mount at /mnt/fsx; this or efs."
  type = object({
    file_system_id = string
    dns_name       = string
    mount_name     = string
  })
  default = null
}

variable "mount_point" {
  description = "Where containers see EFS, if not at /mnt/efs."
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

variable "permissions_boundary" {
  description = "ARN of a policy that bounds what the roles may ever do; empty for none."
  type        = string
  default     = ""
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
  description = "Instance families or types for task jobs, all of one architecture."
  type        = list(string)
}

variable "gpu_instance_types" {
  description = "GPU instance families or types for a compute environment of their own; none without."
  type        = list(string)
  default     = []
}

variable "workflow_instance_types" {
  description = "Instance families or types for workflow jobs, which run on instances with FSx only."
  type        = list(string)
  default     = ["m5", "m6i", "m7i"]
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

variable "ecs" {
  description = "What modules/ecs made, for the engine aws_fargate; null without. EFS only."
  type = object({
    cluster_name       = string
    cluster_arn        = string
    log_group          = string
    execution_role_arn = string
  })
  default = null
}

variable "engine" {
  description = "What runs the tasks of workflows that do not say: batch, or fargate, which needs ecs."
  type        = string
  default     = "batch"
}

variable "events" {
  description = "What modules/events made; null without."
  type = object({
    queue_url = string
    queue_arn = string
  })
  default = null
}
