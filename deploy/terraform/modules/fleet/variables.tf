# Machines of a fleet in Docker Swarm mode: a manager, and workers in auto scaling groups on spot
# instances, or a manager alone that does the work too. Where they are and what they share comes
# from modules/network and modules/storage-fsx.

variable "name" {
  description = "Name of the deployment."
  type        = string
}

variable "tags" {
  description = "Tags of instances and volumes, which the provider's default tags do not reach."
  type        = map(string)
}

variable "vpc_id" {
  description = "VPC of everything."
  type        = string
}

variable "subnet_id" {
  description = "Public subnet of all machines, in the file system's availability zone."
  type        = string
}

variable "cidr_block" {
  description = "Addresses of the VPC, of which tasks see only ports for names and HTTPS."
  type        = string
}

variable "security_group_id" {
  description = "Security group whose members reach the file system."
  type        = string
}

variable "file_system_id" {
  description = "FSx for Lustre file system."
  type        = string
}

variable "lustre_dns_name" {
  description = "Host that machines mount the file system from."
  type        = string
}

variable "lustre_mount_name" {
  description = "What machines mount from that host."
  type        = string
}

variable "read_write_bucket_arns" {
  description = "Buckets that the manager reads and writes."
  type        = list(string)
}

variable "read_bucket_arns" {
  description = "Buckets that the manager reads."
  type        = list(string)
}

variable "allowed_networks" {
  description = "Networks that SSH and mosh of the manager are open to."
  type        = list(string)
}

variable "ssh_public_key" {
  description = "Public key that logs in on the manager."
  type        = string
}

variable "image_id" {
  description = "AMI of all machines; empty for Canonical's current Ubuntu 24.04."
  type        = string
}

variable "root_volume_gib" {
  description = "Size of each root volume in GiB."
  type        = number
}

variable "miniwdl_cloud_package" {
  description = "What pip installs on each machine."
  type        = string
}

variable "manager_instance_type" {
  description = "Instance type of the manager, x86-64."
  type        = string
}

variable "permissions_boundary" {
  description = "ARN of a policy that bounds the roles; empty for none."
  type        = string
}

variable "workers" {
  description = "Workers; null for a manager that does the work too."
  type = object({
    instance_types     = list(string)
    count              = number
    burst_count        = number
    burst_max          = number
    burst_idle_minutes = number
    burst_scaling      = string
    policy_arns        = list(string)
    on_demand_base     = number
    spot_allocation    = string
  })
  default = null
}
