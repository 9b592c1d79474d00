# Work in progress of every run.

resource "aws_efs_file_system" "this" {
  encrypted        = true
  performance_mode = "generalPurpose"
  throughput_mode  = "elastic"
  tags             = { Name = var.name }
}

resource "aws_efs_mount_target" "this" {
  count           = var.subnet_count
  file_system_id  = aws_efs_file_system.this.id
  subnet_id       = var.subnet_ids[count.index]
  security_groups = [var.security_group_id]
}

# It acts as root on the file system for everybody, whatever user a container runs as: images differ
# in their USER, and a task must be able to write into a directory that the workflow job (root) made.
resource "aws_efs_access_point" "this" {
  file_system_id = aws_efs_file_system.this.id
  tags           = { Name = var.name }

  posix_user {
    uid = 0
    gid = 0
  }

  root_directory {
    path = "/miniwdl"
    creation_info {
      owner_uid   = 0
      owner_gid   = 0
      permissions = "0755"
    }
  }
}
