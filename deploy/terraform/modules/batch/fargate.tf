# For the engine aws_fargate: tasks that start within a minute or two, and for which no instance is
# kept. They use the subnets and the security group of the workflow queue.

locals {
  fargate = var.enable_fargate ? 1 : 0
}

resource "aws_ecs_cluster" "tasks" {
  count = local.fargate
  name  = var.name
  tags  = { Name = var.name }
}

resource "aws_ecs_cluster_capacity_providers" "tasks" {
  count              = local.fargate
  cluster_name       = aws_ecs_cluster.tasks[0].name
  capacity_providers = ["FARGATE", "FARGATE_SPOT"]

  default_capacity_provider_strategy {
    capacity_provider = "FARGATE"
    weight            = 1
  }
}

resource "aws_cloudwatch_log_group" "tasks" {
  count             = local.fargate
  name_prefix       = "${var.name}-tasks-"
  retention_in_days = 30
  tags              = { Name = var.name }
}

# With it ECS pulls images and writes logs; the tasks themselves do not have it.
resource "aws_iam_role" "execution" {
  count              = local.fargate
  name_prefix        = "${var.name}-execution-"
  description        = "Starts the ECS tasks of miniwdl-cloud"
  assume_role_policy = data.aws_iam_policy_document.ecs_tasks.json
  tags               = { Name = var.name }
}

resource "aws_iam_role_policy_attachment" "execution" {
  count      = local.fargate
  role       = aws_iam_role.execution[0].name
  policy_arn = "${local.prefix}:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
}

data "aws_iam_policy_document" "ecs" {
  count = local.fargate

  statement {
    sid       = "RunTasks"
    actions   = ["ecs:RunTask"]
    resources = ["${local.prefix}:ecs:${local.place}:task-definition/*"]
    condition {
      test     = "ArnEquals"
      variable = "ecs:cluster"
      values   = [aws_ecs_cluster.tasks[0].arn]
    }
  }

  statement {
    sid       = "Tasks"
    actions   = ["ecs:DescribeTasks", "ecs:StopTask", "ecs:TagResource"]
    resources = ["${local.prefix}:ecs:${local.place}:task/${aws_ecs_cluster.tasks[0].name}/*"]
  }

  # Of tasks, ECS knows the cluster as a condition only; of definitions, nothing.
  statement {
    sid       = "ListTasks"
    actions   = ["ecs:ListTasks"]
    resources = ["*"]
    condition {
      test     = "ArnEquals"
      variable = "ecs:cluster"
      values   = [aws_ecs_cluster.tasks[0].arn]
    }
  }

  statement {
    sid = "Definitions"
    actions = [
      "ecs:DeregisterTaskDefinition",
      "ecs:DescribeTaskDefinition",
      "ecs:ListTaskDefinitions",
      "ecs:RegisterTaskDefinition",
    ]
    resources = ["*"]
  }

  statement {
    sid       = "Cluster"
    actions   = ["ecs:DescribeClusters"]
    resources = [aws_ecs_cluster.tasks[0].arn]
  }

  statement {
    sid       = "ExecutionRole"
    actions   = ["iam:PassRole"]
    resources = [aws_iam_role.execution[0].arn]
    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["ecs-tasks.amazonaws.com"]
    }
  }
}

resource "aws_iam_role_policy" "ecs" {
  count  = local.fargate
  name   = "ecs"
  role   = aws_iam_role.workflow.id
  policy = data.aws_iam_policy_document.ecs[0].json
}
