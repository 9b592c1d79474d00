# Workers come and go by themselves: the groups keep their number, and a worker that shuts down takes
# itself out of its group.

resource "aws_launch_template" "worker" {
  #checkov:skip=CKV_AWS_88:Without a NAT gateway, an address is what leads to AWS; nothing is let in.
  for_each      = local.groups
  name_prefix   = "${var.name}-${each.key}-"
  image_id      = local.image_id
  instance_type = var.workers.instance_types[0]
  key_name      = aws_key_pair.this.key_name
  ebs_optimized = true
  user_data     = local.user_data[each.key]
  tags          = { Name = var.name }
  # A worker ends itself by a shutdown.
  instance_initiated_shutdown_behavior = "terminate"

  iam_instance_profile {
    name = aws_iam_instance_profile.this["worker"].name
  }

  network_interfaces {
    associate_public_ip_address = true
    delete_on_termination       = true
    security_groups             = [var.security_group_id, aws_security_group.fleet.id]
  }

  block_device_mappings {
    device_name = "/dev/sda1"
    ebs {
      volume_type           = "gp3"
      volume_size           = var.root_volume_gib
      encrypted             = true
      delete_on_termination = true
    }
  }

  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  dynamic "tag_specifications" {
    for_each = toset(["instance", "volume"])
    content {
      resource_type = tag_specifications.value
      tags          = merge(var.tags, { Name = "${var.name}-${each.key}" })
    }
  }
}

resource "aws_autoscaling_group" "worker" {
  for_each            = local.groups
  name                = local.group_names[each.key]
  vpc_zone_identifier = [var.subnet_id]
  # A worker that leaves lowers the number, which may not be kept up.
  min_size         = 0
  max_size         = each.value.max
  desired_capacity = each.value.desired
  # Burst workers leave when they are idle, and are not ended before.
  protect_from_scale_in = each.value.burst
  # Spot capacity comes when it comes.
  wait_for_capacity_timeout = "0"
  # Whatever still runs when the fleet is destroyed.
  force_delete = true

  mixed_instances_policy {
    instances_distribution {
      on_demand_base_capacity                  = each.value.burst ? 0 : var.workers.on_demand_base
      on_demand_percentage_above_base_capacity = 0
      spot_allocation_strategy                 = var.workers.spot_allocation
    }
    launch_template {
      launch_template_specification {
        launch_template_id = aws_launch_template.worker[each.key].id
        version            = aws_launch_template.worker[each.key].latest_version
      }
      dynamic "override" {
        for_each = var.workers.instance_types
        content {
          instance_type = override.value
        }
      }
    }
  }

  tag {
    key                 = "Name"
    value               = local.group_names[each.key]
    propagate_at_launch = false
  }
}

# Time to drain for a worker that its group ends; its daemon sees that in instance metadata.
resource "aws_autoscaling_lifecycle_hook" "drain" {
  for_each               = local.groups
  name                   = "drain"
  autoscaling_group_name = aws_autoscaling_group.worker[each.key].name
  lifecycle_transition   = "autoscaling:EC2_INSTANCE_TERMINATING"
  default_result         = "CONTINUE"
  heartbeat_timeout      = 120
}
