data "aws_subnet" "existing" {
  count = local.own ? 0 : 1
  id    = var.subnet_ids[0]
}

output "vpc_id" {
  description = "VPC of everything."
  value       = local.own ? aws_vpc.this[0].id : data.aws_subnet.existing[0].vpc_id
}

output "subnet_ids" {
  description = "Subnets, one an availability zone."
  value       = local.own ? aws_subnet.this[*].id : var.subnet_ids
}

output "subnet_count" {
  description = "How many subnets; known before they are made."
  value       = local.own ? var.availability_zone_count : length(var.subnet_ids)
}

output "route_table_id" {
  description = "Route table of the subnets that are made here; null without."
  value       = one(aws_route_table.this[*].id)
}

output "security_group_id" {
  description = "Security group of jobs and of the file system."
  value       = local.own ? aws_security_group.this[0].id : var.security_group_id

  precondition {
    condition     = local.own || var.security_group_id != ""
    error_message = "With subnets that are there, name their security group too: security_group_id."
  }
  precondition {
    condition     = local.own || !var.private
    error_message = "Subnets that are there are private or not by themselves; leave private out."
  }
}
