variable "name" {
  description = "Name of the deployment."
  type        = string
}

variable "stage_expiration_days" {
  description = "Days after which staged WDL source code and inputs are deleted from the bucket."
  type        = number
  default     = 30

  validation {
    condition     = var.stage_expiration_days >= 1
    error_message = "Staged files have to stay for a day at least."
  }
}
