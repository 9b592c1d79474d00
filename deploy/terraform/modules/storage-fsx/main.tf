# Work in progress of every run: fast, and without a copy elsewhere, so what should last has to get to
# S3.

locals {
  persistent = var.deployment_type == "PERSISTENT_2"
}

resource "aws_fsx_lustre_file_system" "this" {
  file_system_type_version      = "2.15"
  deployment_type               = var.deployment_type
  storage_type                  = "SSD"
  storage_capacity              = var.storage_capacity_gib
  per_unit_storage_throughput   = local.persistent ? var.per_unit_storage_throughput : null
  data_compression_type         = "LZ4"
  weekly_maintenance_start_time = var.weekly_maintenance_start_time
  subnet_ids                    = [var.subnet_id]
  security_group_ids            = [var.security_group_id]
  kms_key_id                    = var.kms_key_id == "" ? null : var.kms_key_id
  tags                          = { Name = var.name }

  lifecycle {
    # FSx API reference, CreateFileSystem, KmsKeyId: scratch file systems have FSx's own key.
    precondition {
      condition     = var.kms_key_id == "" || local.persistent
      error_message = "A KMS key needs deployment_type PERSISTENT_2; SCRATCH_2 has FSx's own key."
    }
  }
}

# What appears in the bucket appears on the file system. Nothing goes back by itself: outputs are
# exported by name (fsx_to_s3), the rest is not worth its storage.
resource "aws_fsx_data_repository_association" "this" {
  file_system_id       = aws_fsx_lustre_file_system.this.id
  file_system_path     = "/"
  data_repository_path = var.linked_uri
  # The file system is deleted with it; what is in the bucket stays.
  delete_data_in_filesystem = false
  tags                      = { Name = var.name }

  s3 {
    auto_import_policy {
      events = ["NEW", "CHANGED", "DELETED"]
    }
  }
}
