# FSx for Lustre, linked to a location in a bucket.
#
#   name, subnet_id, security_group_id (of modules/network), linked_uri (s3://BUCKET/PREFIX)
#
# Outputs: file_system_id, file_system_arn, dns_name, mount_name, linked_uri. Clients mount it with
#   mount -t lustre -o noatime,flock DNS_NAME@tcp:/MOUNT_NAME /mnt/fsx

variable "name" {
  description = "Name of the deployment."
  type        = string
}

variable "subnet_id" {
  description = "Subnet of the file system; clients in its availability zone pay no transfer."
  type        = string
}

variable "security_group_id" {
  description = "Security group of the file system, which lets in Lustre from its clients."
  type        = string
}

variable "linked_uri" {
  description = "What appears at this s3:// URI appears at the file system's root."
  type        = string

  validation {
    condition     = can(regex("^s3://[^/]+(/[^/]+)*$", var.linked_uri))
    error_message = "Give an s3:// URI without a slash at its end."
  }
}

variable "storage_capacity_gib" {
  description = "Size in GiB: 1200, or a multiple of 2400."
  type        = number
  default     = 1200

  validation {
    condition = var.storage_capacity_gib == 1200 || (
      var.storage_capacity_gib > 0 && var.storage_capacity_gib % 2400 == 0
    )
    error_message = "FSx for Lustre takes 1200 GiB, or a multiple of 2400."
  }
}

variable "weekly_maintenance_start_time" {
  description = "When FSx may interrupt the file system: d:HH:MM, UTC; day 1 is Monday."
  type        = string
  default     = "7:04:00"

  validation {
    condition     = can(regex("^[1-7]:([01][0-9]|2[0-3]):[0-5][0-9]$", var.weekly_maintenance_start_time))
    error_message = "Give day of the week and time as d:HH:MM, such as 7:04:00 for Sunday, 4 o'clock."
  }
}

variable "deployment_type" {
  description = "SCRATCH_2, or PERSISTENT_2, which survives the loss of a server, and costs more."
  type        = string
  default     = "SCRATCH_2"

  validation {
    condition     = contains(["SCRATCH_2", "PERSISTENT_2"], var.deployment_type)
    error_message = "The deployment type is SCRATCH_2 or PERSISTENT_2."
  }
}

variable "per_unit_storage_throughput" {
  description = "MB/s for each TiB of a PERSISTENT_2 file system: 125, 250, 500 or 1000."
  type        = number
  default     = 125

  validation {
    condition     = contains([125, 250, 500, 1000], var.per_unit_storage_throughput)
    error_message = "FSx for Lustre gives 125, 250, 500 or 1000 MB/s for each TiB."
  }
}

variable "kms_key_id" {
  description = "ARN of the KMS key of a PERSISTENT_2 file system; empty for AWS's own key, as SCRATCH_2 has."
  type        = string
  default     = ""
}
