output "file_system_id" {
  description = "EFS file system."
  value       = aws_efs_file_system.this.id
}

output "file_system_arn" {
  description = "ARN of the EFS file system."
  value       = aws_efs_file_system.this.arn
}

output "access_point_id" {
  description = "EFS access point that containers mount."
  value       = aws_efs_access_point.this.id
}

output "access_point_arn" {
  description = "ARN of the EFS access point."
  value       = aws_efs_access_point.this.arn
}
