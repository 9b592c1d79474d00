# Roles, each with what it needs and nothing else. Policies are made by scripts/make-templates.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  boundary = var.permissions_boundary == "" ? null : var.permissions_boundary
  account = {
    partition  = data.aws_partition.current.partition
    region     = data.aws_region.current.name
    account_id = data.aws_caller_identity.current.account_id
  }
  buckets = {
    partition         = data.aws_partition.current.partition
    bucket_arn        = var.bucket_arn
    upload_buckets    = var.s3upload_buckets
    input_buckets     = var.s3_input_buckets
    has_input_buckets = length(var.s3_input_buckets) > 0
  }
  # What policies name. Where something is not made, its name is not used.
  named = merge(local.account, local.buckets, {
    has_task_fallback      = var.enable_task_fallback
    has_events             = var.events != null
    task_queue             = aws_batch_job_queue.task["task"].arn
    task_queue_fallback    = var.enable_task_fallback ? aws_batch_job_queue.task["task-fallback"].arn : ""
    task_role_arn          = aws_iam_role.task.arn
    event_queue_arn        = var.events == null ? "" : var.events.queue_arn
    file_system            = var.fsx == null ? "" : var.fsx.file_system_id
    file_system_arn        = var.efs == null ? "" : var.efs.file_system_arn
    access_point_arn       = var.efs == null ? "" : var.efs.access_point_arn
    ecs_cluster            = var.ecs == null ? "" : var.ecs.cluster_name
    ecs_cluster_arn        = var.ecs == null ? "" : var.ecs.cluster_arn
    ecs_execution_role_arn = var.ecs == null ? "" : var.ecs.execution_role_arn
  })
  workflow_policies = concat(
    ["start", "batch", "s3", var.fsx == null ? "efs" : "fsx"],
    var.ecs == null ? [] : ["ecs"],
  )
}

data "aws_iam_policy_document" "trust" {
  for_each = {
    ecs = "ecs-tasks.amazonaws.com"
    ec2 = "ec2.${data.aws_partition.current.dns_suffix}"
  }

  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = [each.value]
    }
  }
}

# Of the workflow job: what miniwdl needs to run tasks (job role), and what ECS needs to start it
# (execution role). It may hand on the task roles only.
resource "aws_iam_role" "workflow" {
  name_prefix          = "${var.name}-workflow-"
  description          = "Workflow jobs of miniwdl-cloud"
  assume_role_policy   = data.aws_iam_policy_document.trust["ecs"].json
  permissions_boundary = local.boundary
  tags                 = { Name = var.name }
}

resource "aws_iam_role_policy" "workflow" {
  for_each = toset(local.workflow_policies)
  name     = each.key
  role     = aws_iam_role.workflow.id
  policy   = templatefile("${path.module}/policies/workflow-${each.key}.tftpl", local.named)
}

# Of task jobs, for those that fetch s3:// inputs: reading, nothing else.
resource "aws_iam_role" "task" {
  name_prefix          = "${var.name}-task-"
  description          = "Task jobs of miniwdl-cloud"
  assume_role_policy   = data.aws_iam_policy_document.trust["ecs"].json
  permissions_boundary = local.boundary
  tags                 = { Name = var.name }
}

resource "aws_iam_role_policy" "task" {
  name   = "s3"
  role   = aws_iam_role.task.id
  policy = templatefile("${path.module}/policies/task-s3.tftpl", local.buckets)
}

# Of instances. EC2 jobs of Batch run in the host's network, so their commands can reach the
# instance's credentials: this role can do what the ECS agent needs, nothing else.
resource "aws_iam_role" "instance" {
  name_prefix          = "${var.name}-instance-"
  description          = "Task instances of miniwdl-cloud"
  assume_role_policy   = data.aws_iam_policy_document.trust["ec2"].json
  permissions_boundary = local.boundary
  tags                 = { Name = var.name }
}

resource "aws_iam_role_policy" "instance" {
  for_each = toset(["agent", "start"])
  name     = each.key
  role     = aws_iam_role.instance.id
  policy   = templatefile("${path.module}/policies/instance-${each.key}.tftpl", local.account)
}

resource "aws_iam_instance_profile" "instance" {
  name_prefix = "${var.name}-"
  role        = aws_iam_role.instance.name
  tags        = { Name = var.name }
}

resource "aws_iam_service_linked_role" "spot" {
  count            = var.create_spot_service_roles ? 1 : 0
  aws_service_name = "spot.amazonaws.com"
}
