# For the engine aws_fargate: tasks that start within a minute or two, and for which no instance is
# kept. They use the subnets and the security group of the workflow queue.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

resource "aws_ecs_cluster" "this" {
  name = var.name
  tags = { Name = var.name }
}

resource "aws_ecs_cluster_capacity_providers" "this" {
  cluster_name       = aws_ecs_cluster.this.name
  capacity_providers = ["FARGATE", "FARGATE_SPOT"]

  default_capacity_provider_strategy {
    capacity_provider = "FARGATE"
    weight            = 1
  }
}

resource "aws_cloudwatch_log_group" "this" {
  name_prefix       = "${var.name}-tasks-"
  retention_in_days = 30
  tags              = { Name = var.name }
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }
  }
}

# With it ECS pulls images and writes logs; the tasks themselves do not have it.
resource "aws_iam_role" "execution" {
  name_prefix          = "${var.name}-execution-"
  description          = "Starts the ECS tasks of miniwdl-cloud"
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  permissions_boundary = var.permissions_boundary == "" ? null : var.permissions_boundary
  tags                 = { Name = var.name }
}

# Made by scripts/make-templates.
resource "aws_iam_role_policy" "start" {
  name = "start"
  role = aws_iam_role.execution.id
  policy = templatefile("${path.module}/policies/execution-start.tftpl", {
    partition     = data.aws_partition.current.partition
    region        = data.aws_region.current.name
    account_id    = data.aws_caller_identity.current.account_id
    ecs_log_group = aws_cloudwatch_log_group.this.name
  })
}
