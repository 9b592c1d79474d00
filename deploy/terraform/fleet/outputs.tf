output "manager_ip" {
  description = "Public address of the manager; it changes when the instance is stopped and started."
  value       = module.fleet.manager_ip
}

output "ssh" {
  description = "Command that logs in on the manager."
  value       = "ssh ubuntu@${module.fleet.manager_ip}"
}

output "bucket_name" {
  description = "Bucket that the file system is linked to."
  value       = local.bucket_name
}

output "linked_location" {
  description = "S3 location that the file system's root (/mnt/shared) is linked to."
  value       = module.storage.linked_uri
}

output "file_system_id" {
  description = "FSx for Lustre file system."
  value       = module.storage.file_system_id
}

output "user_data_bytes" {
  description = "Size of each machine's user data, of which EC2 takes 16384 bytes."
  value       = module.fleet.user_data_bytes
}

output "worker_group" {
  description = "Auto scaling group of the persistent workers."
  value       = module.fleet.groups["persistent"]
}

output "burst_worker_group" {
  description = "Auto scaling group of the burst workers."
  value       = module.fleet.groups["burst"]
}
