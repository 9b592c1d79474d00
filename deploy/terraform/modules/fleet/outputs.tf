output "manager_ip" {
  description = "Public address of the manager."
  value       = aws_instance.manager.public_ip
}

output "manager_id" {
  description = "Instance of the manager."
  value       = aws_instance.manager.id
}

output "groups" {
  description = "Names of the auto scaling groups, by kind."
  value       = { for kind, group in aws_autoscaling_group.worker : kind => group.name }
}

output "user_data_bytes" {
  description = "Size of each machine's user data, of which EC2 takes 16384 bytes."
  value       = { for name, data in local.user_data : name => floor(length(data) * 3 / 4) }
}
