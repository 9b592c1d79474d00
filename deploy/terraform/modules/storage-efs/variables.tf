variable "name" {
  description = "Name of the deployment."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets to mount the file system in, one an availability zone."
  type        = list(string)
}

variable "subnet_count" {
  description = "How many subnets; known before they are made."
  type        = number
}

variable "security_group_id" {
  description = "Security group of the mount targets."
  type        = string
}
