variable "name" {
  description = "Name of the deployment, and of the cluster."
  type        = string
}

variable "permissions_boundary" {
  description = "ARN of a policy that bounds what the role may ever do; empty for none."
  type        = string
  default     = ""
}
