# The instances of compute environments: volumes, metadata service, and what they do at boot.

locals {
  # Tags of instances: Batch does not take them from the provider's default tags.
  instance_tags = merge(var.tags, { Name = var.name })
  # MIME multipart, as Batch adds its own part to it. Made by scripts/make-templates.
  user_data = (
    var.fsx == null
    ? templatefile("${path.module}/user_data/efs.tftpl", {})
    : templatefile("${path.module}/user_data/fsx.tftpl", {
      dns_name   = var.fsx.dns_name
      mount_name = var.fsx.mount_name
    })
  )
}

resource "aws_launch_template" "task" {
  name_prefix            = "${var.name}-"
  update_default_version = true
  user_data              = base64encode(local.user_data)
  tags                   = { Name = var.name }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  block_device_mappings {
    device_name = "/dev/xvda"
    ebs {
      volume_type           = "gp3"
      volume_size           = var.task_root_volume_gib
      encrypted             = true
      delete_on_termination = true
    }
  }

  tag_specifications {
    resource_type = "volume"
    tags          = local.instance_tags
  }
}
