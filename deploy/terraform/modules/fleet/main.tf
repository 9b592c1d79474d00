# The manager keeps the swarm and the runs: it is on demand. All that makes a machine what it is comes
# from the Ansible roles, which it applies to itself at its first boot; on an image on which they were
# applied before, little is left to do.

data "aws_partition" "current" {}
data "aws_region" "current" {}
data "aws_caller_identity" "current" {}

# Canonical, "Find Ubuntu images on AWS": the parameters that it keeps.
data "aws_ssm_parameter" "image" {
  count = var.image_id == "" ? 1 : 0
  name  = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
}

locals {
  image_id = var.image_id == "" ? nonsensitive(data.aws_ssm_parameter.image[0].value) : var.image_id
  groups = var.workers == null ? {} : {
    persistent = { desired = var.workers.count, max = var.workers.count, burst = false }
    burst = {
      desired = var.workers.burst_count
      max     = max(var.workers.burst_count, var.workers.burst_max)
      burst   = true
    }
  }
  group_names = { for kind in keys(local.groups) : kind => "${var.name}-${kind}" }
}

resource "aws_key_pair" "this" {
  key_name_prefix = "${var.name}-"
  public_key      = var.ssh_public_key
  tags            = { Name = var.name }
}

resource "aws_instance" "manager" {
  #checkov:skip=CKV_AWS_88:People log in on it; its security groups name their networks.
  #checkov:skip=CKV_AWS_126:Metrics by the minute cost, and fleet status tells of the machines.
  ami                  = local.image_id
  instance_type        = var.manager_instance_type
  subnet_id            = var.subnet_id
  key_name             = aws_key_pair.this.key_name
  iam_instance_profile = aws_iam_instance_profile.this["manager"].name
  ebs_optimized        = true
  user_data_base64     = local.user_data["manager"]
  vpc_security_group_ids = [
    var.security_group_id, aws_security_group.fleet.id, aws_security_group.manager.id,
  ]
  tags        = { Name = "${var.name}-manager" }
  volume_tags = merge(var.tags, { Name = "${var.name}-manager" })

  root_block_device {
    volume_type = "gp3"
    volume_size = var.root_volume_gib
    encrypted   = true
  }

  metadata_options {
    http_tokens = "required"
    # One hop less than a container is away.
    http_put_response_hop_limit = 1
  }

  lifecycle {
    # Runs are under way on it; a newer image or role is no reason to take it away.
    ignore_changes = [ami, user_data_base64]
  }
}
