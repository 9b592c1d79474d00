# Where everything is: a VPC of its own, with public or with private subnets, or subnets that are
# there. Outputs are the same in each case: vpc_id, subnet_ids, subnet_count, security_group_id.
#
#   a VPC of its own:     name, filesystem
#   private subnets:      the same, and private = true
#   subnets of yours:     name, filesystem, subnet_ids, security_group_id

variable "name" {
  description = "Name of the deployment."
  type        = string
}

variable "filesystem" {
  description = "What is shared: efs or fsx. The security group lets it through among its members."
  type        = string

  validation {
    condition     = contains(["efs", "fsx"], var.filesystem)
    error_message = "The file system is efs or fsx."
  }
}

variable "private" {
  description = "Make private subnets, from which AWS is reached by endpoints, and nothing else is."
  type        = bool
  default     = false
}

variable "subnet_ids" {
  description = "Subnets that are there, to be used in place of a VPC of its own; an empty list for none."
  type        = list(string)
  default     = []
}

variable "security_group_id" {
  description = "Security group that is there, to be used with subnet_ids; empty for none."
  type        = string
  default     = ""
}

variable "cidr_block" {
  description = "Addresses of the VPC."
  type        = string
  default     = "10.0.0.0/16"
}

variable "availability_zone_count" {
  description = "Availability zones to use: 1, 2 or 3."
  type        = number
  default     = 3

  validation {
    condition     = contains([1, 2, 3], var.availability_zone_count)
    error_message = "Use 1, 2 or 3 availability zones."
  }
}

variable "availability_zone" {
  description = "Availability zone of the first subnet, which is FSx for Lustre's; empty for the Region's first."
  type        = string
  default     = ""
}
