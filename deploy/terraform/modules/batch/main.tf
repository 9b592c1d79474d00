# Compute environments and job queues. The environments have no service role, so that Batch uses its
# service-linked role, which updates in place need.

locals {
  # Tags of instances: Batch does not take them from the provider's default tags.
  instance_tags = merge(var.tags, { Name = var.name })
  environments = merge(
    {
      spot = {
        type       = "SPOT"
        allocation = "SPOT_PRICE_CAPACITY_OPTIMIZED"
        bid        = var.spot_bid_percentage
      }
    },
    var.enable_task_fallback ? {
      fallback = { type = "EC2", allocation = "BEST_FIT_PROGRESSIVE", bid = null }
    } : {},
  )
  queues = merge(
    { spot = "${var.name}-task" },
    var.enable_task_fallback ? { fallback = "${var.name}-task-fallback" } : {},
  )
}

resource "aws_launch_template" "task" {
  name_prefix            = "${var.name}-"
  update_default_version = true
  # MIME multipart, as Batch adds its own part to it. Made by scripts/make-templates.
  user_data = filebase64("${path.module}/user_data.txt")
  tags      = { Name = var.name }

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

resource "aws_batch_compute_environment" "task" {
  for_each                        = local.environments
  compute_environment_name_prefix = "${var.name}-task-"
  type                            = "MANAGED"
  state                           = "ENABLED"
  tags                            = { Name = var.name }

  compute_resources {
    type                = each.value.type
    allocation_strategy = each.value.allocation
    bid_percentage      = each.value.bid
    min_vcpus           = 0
    max_vcpus           = var.task_max_vcpus
    instance_type       = var.task_instance_types
    instance_role       = aws_iam_instance_profile.instance.arn
    subnets             = var.subnet_ids
    security_group_ids  = [var.security_group_id]
    tags                = local.instance_tags

    ec2_configuration {
      image_type = "ECS_AL2023"
    }
    ec2_configuration {
      image_type = "ECS_AL2023_NVIDIA"
    }

    launch_template {
      launch_template_id = aws_launch_template.task.id
      version            = aws_launch_template.task.latest_version
    }
  }

  lifecycle {
    create_before_destroy = true
  }

  depends_on = [aws_iam_role_policy_attachment.instance]
}

resource "aws_batch_compute_environment" "workflow" {
  compute_environment_name_prefix = "${var.name}-workflow-"
  type                            = "MANAGED"
  state                           = "ENABLED"
  tags                            = { Name = var.name }

  compute_resources {
    type               = "FARGATE"
    max_vcpus          = var.workflow_max_vcpus
    subnets            = var.subnet_ids
    security_group_ids = [var.security_group_id]
  }

  lifecycle {
    create_before_destroy = true
  }
}

# A job that no instance could ever take would block its queue; Batch recognises that by itself and
# cancels it, which reaches miniwdl as the task's failure. Jobs that only wait for capacity are left
# waiting.
resource "aws_batch_job_queue" "task" {
  for_each = local.queues
  name     = each.value
  state    = "ENABLED"
  priority = 1
  tags     = { Name = var.name }

  compute_environment_order {
    order               = 1
    compute_environment = aws_batch_compute_environment.task[each.key].arn
  }

  job_state_time_limit_action {
    action           = "CANCEL"
    state            = "RUNNABLE"
    max_time_seconds = 600
    reason           = "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE"
  }

  job_state_time_limit_action {
    action           = "CANCEL"
    state            = "RUNNABLE"
    max_time_seconds = 600
    reason           = "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT"
  }
}

# miniwdl-aws-submit finds everything else by these tags.
resource "aws_batch_job_queue" "workflow" {
  name     = "${var.name}-workflow"
  state    = "ENABLED"
  priority = 1

  compute_environment_order {
    order               = 1
    compute_environment = aws_batch_compute_environment.workflow.arn
  }

  tags = merge(
    {
      Name                  = var.name
      DefaultTaskQueue      = local.queues["spot"]
      DefaultFsap           = var.access_point_id
      DefaultStageUri       = "s3://${var.bucket_name}/stage"
      DefaultTaskRoleArn    = aws_iam_role.task.arn
      DefaultEventQueueUrl  = aws_sqs_queue.events.url
      WorkflowEngineRoleArn = aws_iam_role.workflow.arn
    },
    var.enable_task_fallback ? {
      DefaultTaskQueueFallback = local.queues["fallback"]
    } : {},
    var.enable_fargate ? {
      DefaultEcsCluster          = aws_ecs_cluster.tasks[0].name
      DefaultEcsExecutionRoleArn = aws_iam_role.execution[0].arn
      DefaultEcsLogGroup         = aws_cloudwatch_log_group.tasks[0].name
    } : {},
    var.mount_point == "" ? {} : { DefaultMount = var.mount_point },
  )
}
