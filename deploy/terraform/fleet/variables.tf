variable "name" {
  description = "Name of the deployment."
  type        = string
  default     = "fleet"

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

variable "allowed_networks" {
  description = "Networks that may log in on the manager, by SSH and mosh, such as 203.0.113.7/32."
  type        = list(string)

  validation {
    condition = length(var.allowed_networks) > 0 && alltrue([
      for network in var.allowed_networks : can(cidrhost(network, 0))
    ])
    error_message = "Name at least one network as ADDRESS/BITS; 203.0.113.7/32 is one address."
  }
  validation {
    condition     = !contains(var.allowed_networks, "0.0.0.0/0")
    error_message = "The manager is not for the whole world; name the networks that you log in from."
  }
}

variable "ssh_public_key" {
  description = "Public key that logs in on the manager, as in ~/.ssh/id_ed25519.pub."
  type        = string

  validation {
    condition     = can(regex("^(ssh-(ed25519|rsa)|ecdsa-sha2-nistp256) ", var.ssh_public_key))
    error_message = "Give the text of an OpenSSH public key: ssh-ed25519 AAAA… ."
  }
}

variable "s3_bucket" {
  description = "Existing bucket to link the file system to; empty for one that is made."
  type        = string
  default     = ""
}

variable "s3_prefix" {
  description = "Folder of the bucket that the file system's root is linked to."
  type        = string
  default     = "fleet"

  validation {
    condition     = can(regex("^[^/].*[^/]$", var.s3_prefix))
    error_message = "Give the folder without a slash at its beginning or end."
  }
}

variable "s3upload_buckets" {
  description = "Existing buckets that the manager may read and upload to, beside the linked one."
  type        = list(string)
  default     = []
}

variable "s3_input_buckets" {
  description = "Further buckets that the manager may read; public ones of others too."
  type        = list(string)
  default     = []
}

variable "availability_zone" {
  description = "Availability zone of everything; empty for the Region's first."
  type        = string
  default     = ""
}

variable "lustre_GiB" {
  description = "Size of the Lustre file system in GiB: 1200, or a multiple of 2400."
  type        = number
  default     = 1200

  validation {
    condition     = var.lustre_GiB == 1200 || (var.lustre_GiB > 0 && var.lustre_GiB % 2400 == 0)
    error_message = "FSx for Lustre takes 1200 GiB, or a multiple of 2400."
  }
}

variable "lustre_weekly_maintenance_start_time" {
  description = "When FSx may interrupt the file system: day of the week (1 is Monday) and time, d:HH:MM, UTC."
  type        = string
  default     = "7:04:00"

  validation {
    condition     = can(regex("^[1-7]:([01][0-9]|2[0-3]):[0-5][0-9]$", var.lustre_weekly_maintenance_start_time))
    error_message = "Give day of the week and time as d:HH:MM, such as 7:04:00 for Sunday, 4 o'clock."
  }
}

variable "manager_instance_type" {
  description = "Instance type of the manager, x86-64."
  type        = string
  default     = "m6i.xlarge"
}

variable "image_id" {
  description = "AMI of the machines: Ubuntu, or an image with the roles applied; empty for Ubuntu 24.04."
  type        = string
  default     = ""
}

variable "root_volume_gib" {
  description = "Size of each root volume in GiB, which has Docker's data where there are no NVMe disks."
  type        = number
  default     = 100

  validation {
    condition     = var.root_volume_gib >= 30
    error_message = "The system needs 30 GiB."
  }
}

variable "miniwdl_cloud_package" {
  description = "What pip installs on each machine: a name with a version, or the URL of a wheel."
  type        = string
  default     = "miniwdl-cloud"
}

variable "permissions_boundary" {
  description = "ARN of a policy that bounds all roles; empty for none."
  type        = string
  default     = ""
}

variable "worker_count" {
  description = "Persistent workers, which stay while the fleet does."
  type        = number
  default     = 2

  validation {
    condition     = var.worker_count >= 0
    error_message = "The number of workers cannot be negative."
  }
}

variable "burst_worker_count" {
  description = "Burst workers to start now, which leave when they are idle."
  type        = number
  default     = 0

  validation {
    condition     = var.burst_worker_count >= 0
    error_message = "The number of workers cannot be negative."
  }
}

variable "burst_worker_max" {
  description = "Most burst workers that the manager may ask for."
  type        = number
  default     = 20

  validation {
    condition     = var.burst_worker_max >= 0
    error_message = "The number of workers cannot be negative."
  }
}

variable "burst_worker_idle_minutes" {
  description = "Minutes without tasks after which a burst worker leaves."
  type        = number
  default     = 30

  validation {
    condition     = var.burst_worker_idle_minutes >= 1
    error_message = "A worker has to have a minute for its first task."
  }
}

variable "burst_scaling" {
  description = "Whether the manager raises the burst group for tasks that wait: off, dry-run or on."
  type        = string
  default     = "off"

  validation {
    condition     = contains(["off", "dry-run", "on"], var.burst_scaling)
    error_message = "Scaling is off, dry-run or on."
  }
}

variable "worker_instance_type" {
  description = "Instance type of workers, x86-64. Those with NVMe disks (a d in the name) have fast scratch space."
  type        = string
  default     = "m6id.4xlarge"
}

variable "worker_alternative_instance_types" {
  description = "Types to take where spot capacity of the first is scarce, of the same size: the more, the fewer interruptions."
  type        = list(string)
  default     = ["m5d.4xlarge", "m5ad.4xlarge", "m5dn.4xlarge", "r6id.4xlarge", "r5d.4xlarge"]
}

variable "worker_on_demand_count" {
  description = "How many of the persistent workers are on demand, so that something is always there."
  type        = number
  default     = 0
}

variable "spot_allocation_strategy" {
  description = "How spot capacity is chosen: price-capacity-optimized, capacity-optimized or lowest-price."
  type        = string
  default     = "price-capacity-optimized"

  validation {
    condition = contains(
      ["price-capacity-optimized", "capacity-optimized", "lowest-price"],
      var.spot_allocation_strategy,
    )
    error_message = "Choose price-capacity-optimized, capacity-optimized or lowest-price."
  }
}

variable "worker_privileges" {
  description = "ARNs of managed policies for the workers' role; tasks do not get at it."
  type        = list(string)
  default     = []
}
