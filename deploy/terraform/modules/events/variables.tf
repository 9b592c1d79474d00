variable "name" {
  description = "Name of the deployment."
  type        = string
}

variable "task_queue_arns" {
  description = "Batch job queues whose jobs' state changes are told."
  type        = list(string)
}
