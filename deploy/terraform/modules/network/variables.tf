variable "name" {
  description = "Name of the deployment."
  type        = string
}

variable "cidr_block" {
  description = "Addresses of the VPC."
  type        = string
  default     = "10.0.0.0/16"
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
