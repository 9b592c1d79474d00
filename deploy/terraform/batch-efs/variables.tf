variable "name" {
  description = "Name of the deployment; queues are named after it."
  type        = string
  default     = "miniwdl"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,23}$", var.name))
    error_message = "Use at most 24 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "environment_tag" {
  description = "Value of the tag Environment on everything."
  type        = string
  default     = "miniwdl"
}

variable "owner_tag" {
  description = "Value of the tag Owner on everything."
  type        = string
  default     = "miniwdl"
}

variable "s3upload_buckets" {
  description = "Existing buckets that workflows may read and upload to, beside their own."
  type        = list(string)
  default     = []
}

variable "s3_input_buckets" {
  description = "Further buckets that workflows may read; public ones of others too."
  type        = list(string)
  default     = []
}

variable "stage_expiration_days" {
  description = "Days after which staged WDL source code and inputs are deleted."
  type        = number
  default     = 30
}

variable "create_spot_service_roles" {
  description = "Make the service-linked role of EC2 Spot; needed once in an account."
  type        = bool
  default     = false
}

variable "permissions_boundary" {
  description = "ARN of a policy that bounds what the roles made here may ever do; empty for none."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^$|^arn:aws[a-z-]*:iam::([0-9]{12}|aws):policy/.+$", var.permissions_boundary))
    error_message = "Give the ARN of an IAM policy."
  }
}

variable "task_max_vcpus" {
  description = "Most vCPUs of task jobs, in each compute environment for them."
  type        = number
  default     = 256

  validation {
    condition     = var.task_max_vcpus >= 0
    error_message = "The number of vCPUs cannot be negative."
  }
}

variable "workflow_max_vcpus" {
  description = "Most vCPUs of workflow jobs; one takes one by default."
  type        = number
  default     = 64

  validation {
    condition     = var.workflow_max_vcpus >= 1
    error_message = "A workflow job needs a vCPU."
  }
}

variable "spot_bid_percentage" {
  description = "Highest spot price, in percent of the on-demand price."
  type        = number
  default     = 100

  validation {
    condition     = var.spot_bid_percentage >= 1 && var.spot_bid_percentage <= 100
    error_message = "The spot price is between 1 and 100 percent of the on-demand price."
  }
}

variable "enable_task_fallback" {
  description = "Make a queue of on-demand instances, for tasks that were interrupted too often."
  type        = bool
  default     = true
}

variable "task_instance_types" {
  description = "Instance families or types for task jobs, all of one architecture."
  type        = list(string)
  default = [
    "m5d", "m6i", "m6id", "m7i", "c5d", "c6i", "c6id", "c7i", "r5d", "r6i", "r6id", "r7i", "g4dn",
    "g5",
  ]
}

variable "gpu_instance_types" {
  description = "GPU instance families or types for a compute environment of their own, such as g6; none without."
  type        = list(string)
  default     = []
}

variable "task_root_volume_gib" {
  description = "Size of each task instance's root volume in GiB."
  type        = number
  default     = 100

  validation {
    condition     = var.task_root_volume_gib >= 30
    error_message = "The system needs 30 GiB."
  }
}

variable "enable_events" {
  description = "Tell workflow jobs of their tasks' state changes by EventBridge and SQS; without, they ask Batch."
  type        = bool
  default     = true
}

variable "enable_fargate" {
  description = "Make an ECS cluster, which the engine aws_fargate runs tasks in."
  type        = bool
  default     = true
}

variable "engine" {
  description = "What runs the tasks of workflows that do not say: batch, on instances, or fargate, as ECS tasks."
  type        = string
  default     = "batch"

  validation {
    condition     = contains(["batch", "fargate"], var.engine)
    error_message = "The engine is batch or fargate."
  }
}

variable "private_subnets" {
  description = "Make private subnets with endpoints: nothing but AWS is reached, and every image has to be in ECR."
  type        = bool
  default     = false
}

variable "availability_zone_count" {
  description = "Availability zones to use: 2 or 3."
  type        = number
  default     = 3

  validation {
    condition     = contains([2, 3], var.availability_zone_count)
    error_message = "Use 2 or 3 availability zones."
  }
}

variable "subnet_ids" {
  description = "Subnets that are there, one an availability zone, in place of a VPC of their own."
  type        = list(string)
  default     = []
}

variable "security_group_id" {
  description = "Security group that goes with subnet_ids. It has to let in TCP 2049 from its own members, and to let out everything."
  type        = string
  default     = ""
}

variable "mount_point" {
  description = "Where containers see the file system, if not at /mnt/efs."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^$|^/.*[^/]$", var.mount_point))
    error_message = "Give an absolute path without a slash at its end."
  }
}
