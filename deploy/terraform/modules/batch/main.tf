# Compute environments and job queues. The environments have no service role, so that Batch uses its
# service-linked role, which updates in place need.

locals {
  spot   = { type = "SPOT", allocation = "SPOT_PRICE_CAPACITY_OPTIMIZED", bid = var.spot_bid_percentage }
  demand = { type = "EC2", allocation = "BEST_FIT_PROGRESSIVE", bid = null }
  tasks  = { types = var.task_instance_types, most = var.task_max_vcpus }
  gpus   = { types = var.gpu_instance_types, most = var.task_max_vcpus }
  # On Fargate, where workflow jobs run else, only EFS can be mounted.
  workflows = { types = var.workflow_instance_types, most = var.workflow_max_vcpus }
  environments = merge(
    { task = merge(local.spot, local.tasks) },
    var.enable_task_fallback ? { task-fallback = merge(local.demand, local.tasks) } : {},
    # A second choice of the task queue: for jobs that ask for a GPU, where the first has none.
    length(var.gpu_instance_types) > 0 ? { task-gpu = merge(local.spot, local.gpus) } : {},
    var.fsx == null ? {} : { workflow = merge(local.demand, local.workflows) },
  )
  queues = merge(
    { task = concat(["task"], length(var.gpu_instance_types) > 0 ? ["task-gpu"] : []) },
    var.enable_task_fallback ? { task-fallback = ["task-fallback"] } : {},
  )
}

resource "aws_batch_compute_environment" "instances" {
  for_each                        = local.environments
  compute_environment_name_prefix = "${var.name}-${each.key}-"
  type                            = "MANAGED"
  state                           = "ENABLED"
  tags                            = { Name = var.name }

  compute_resources {
    type                = each.value.type
    allocation_strategy = each.value.allocation
    bid_percentage      = each.value.bid
    min_vcpus           = 0
    max_vcpus           = each.value.most
    instance_type       = each.value.types
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

  # An environment whose instances cannot register ends as invalid.
  depends_on = [aws_iam_role_policy.instance]
}

resource "aws_batch_compute_environment" "fargate" {
  count                           = var.fsx == null ? 1 : 0
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
  name     = "${var.name}-${each.key}"
  state    = "ENABLED"
  priority = 1
  tags     = { Name = var.name }

  dynamic "compute_environment_order" {
    for_each = each.value
    content {
      order               = compute_environment_order.key + 1
      compute_environment = aws_batch_compute_environment.instances[compute_environment_order.value].arn
    }
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
    order = 1
    compute_environment = (
      var.fsx == null
      ? aws_batch_compute_environment.fargate[0].arn
      : aws_batch_compute_environment.instances["workflow"].arn
    )
  }

  tags = merge(
    {
      Name                  = var.name
      DefaultTaskQueue      = "${var.name}-task"
      DefaultStageUri       = "s3://${var.bucket_name}/stage"
      DefaultTaskRoleArn    = aws_iam_role.task.arn
      WorkflowEngineRoleArn = aws_iam_role.workflow.arn
    },
    var.enable_task_fallback ? { DefaultTaskQueueFallback = "${var.name}-task-fallback" } : {},
    var.efs == null ? {} : { DefaultFsap = var.efs.access_point_id },
    var.efs == null || var.mount_point == "" ? {} : { DefaultMount = var.mount_point },
    var.fsx == null ? {} : { DefaultFsid = var.fsx.file_system_id, DefaultMount = "/mnt/fsx" },
    var.events == null ? {} : { DefaultEventQueueUrl = var.events.queue_url },
    var.ecs == null ? {} : {
      DefaultEcsCluster          = var.ecs.cluster_name
      DefaultEcsExecutionRoleArn = var.ecs.execution_role_arn
      DefaultEcsLogGroup         = var.ecs.log_group
    },
    var.ecs != null && var.engine == "fargate" ? { DefaultEngine = "aws_fargate" } : {},
  )

  lifecycle {
    precondition {
      condition     = (var.efs == null) != (var.fsx == null)
      error_message = "A deployment has one shared file system: give efs or fsx."
    }
    precondition {
      condition     = var.ecs == null || var.fsx == null
      error_message = "On Fargate FSx for Lustre cannot be mounted; leave ecs out."
    }
  }

  # A workflow job may come at once, and uses its role's policies.
  depends_on = [aws_iam_role_policy.workflow]
}
