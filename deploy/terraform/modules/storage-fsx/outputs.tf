output "file_system_id" {
  description = "FSx for Lustre file system."
  value       = aws_fsx_lustre_file_system.this.id
}

output "file_system_arn" {
  description = "ARN of the file system."
  value       = aws_fsx_lustre_file_system.this.arn
}

output "dns_name" {
  description = "Host that clients mount from."
  value       = aws_fsx_lustre_file_system.this.dns_name
}

output "mount_name" {
  description = "What clients mount from that host."
  value       = aws_fsx_lustre_file_system.this.mount_name
}

output "linked_uri" {
  description = "S3 location that the file system's root is linked to."
  value       = var.linked_uri
  # Jobs read what is linked; the link has to be there first.
  depends_on = [aws_fsx_data_repository_association.this]
}
