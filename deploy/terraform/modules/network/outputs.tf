output "vpc_id" {
  description = "VPC of everything."
  value       = aws_vpc.this.id
}

output "subnet_ids" {
  description = "Subnets, one an availability zone."
  value       = aws_subnet.this[*].id
}

output "security_group_id" {
  description = "Security group of jobs and of the file system."
  value       = aws_security_group.this.id
}
