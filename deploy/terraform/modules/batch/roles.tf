# Roles, each with what it needs and nothing else.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  place       = "${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}"
  prefix      = "arn:${data.aws_partition.current.partition}"
  definitions = "${local.prefix}:batch:${local.place}:job-definition/*"
  jobs        = "${local.prefix}:batch:${local.place}:job/*"
  own_buckets = concat(
    [var.bucket_arn],
    [for name in var.s3upload_buckets : "${local.prefix}:s3:::${name}"],
  )
  input_buckets = [for name in var.s3_input_buckets : "${local.prefix}:s3:::${name}"]
}

data "aws_iam_policy_document" "ecs_tasks" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "ec2" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.${data.aws_partition.current.dns_suffix}"]
    }
  }
}

# Of the workflow job: what miniwdl needs to run tasks (job role), and what Batch needs to start it
# (execution role). It may hand on the task role only.
resource "aws_iam_role" "workflow" {
  name_prefix        = "${var.name}-workflow-"
  description        = "Workflow jobs of miniwdl-cloud"
  assume_role_policy = data.aws_iam_policy_document.ecs_tasks.json
  tags               = { Name = var.name }
}

resource "aws_iam_role_policy_attachment" "workflow" {
  role       = aws_iam_role.workflow.name
  policy_arn = "${local.prefix}:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
}

data "aws_iam_policy_document" "batch" {
  statement {
    sid       = "SubmitTasks"
    actions   = ["batch:SubmitJob"]
    resources = concat([local.definitions], [for queue in aws_batch_job_queue.task : queue.arn])
  }

  statement {
    sid       = "Definitions"
    actions   = ["batch:RegisterJobDefinition", "batch:DeregisterJobDefinition"]
    resources = [local.definitions]
  }

  statement {
    sid       = "EndTasks"
    actions   = ["batch:CancelJob", "batch:TerminateJob"]
    resources = [local.jobs]
  }

  statement {
    sid       = "TagTasks"
    actions   = ["batch:TagResource"]
    resources = [local.definitions, local.jobs]
  }

  # These actions know no resources.
  statement {
    sid = "Look"
    actions = [
      "batch:DescribeComputeEnvironments",
      "batch:DescribeJobDefinitions",
      "batch:DescribeJobQueues",
      "batch:DescribeJobs",
      "batch:ListJobs",
      "ec2:DescribeInstanceTypes",
    ]
    resources = ["*"]
  }

  statement {
    sid       = "Events"
    actions   = ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:ReceiveMessage"]
    resources = [aws_sqs_queue.events.arn]
  }

  statement {
    sid       = "TaskRole"
    actions   = ["iam:PassRole"]
    resources = [aws_iam_role.task.arn]
    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["ecs-tasks.amazonaws.com"]
    }
  }
}

resource "aws_iam_role_policy" "batch" {
  name   = "batch"
  role   = aws_iam_role.workflow.id
  policy = data.aws_iam_policy_document.batch.json
}

data "aws_iam_policy_document" "logs" {
  statement {
    actions   = ["logs:GetLogEvents"]
    resources = ["${local.prefix}:logs:${local.place}:log-group:/aws/batch/job:*"]
  }
}

resource "aws_iam_role_policy" "logs" {
  name   = "logs"
  role   = aws_iam_role.workflow.id
  policy = data.aws_iam_policy_document.logs.json
}

data "aws_iam_policy_document" "efs" {
  statement {
    actions = [
      "elasticfilesystem:ClientMount",
      "elasticfilesystem:ClientRootAccess",
      "elasticfilesystem:ClientWrite",
    ]
    resources = [var.file_system_arn]
    condition {
      test     = "StringEquals"
      variable = "elasticfilesystem:AccessPointArn"
      values   = [var.access_point_arn]
    }
  }

  statement {
    actions   = ["elasticfilesystem:DescribeAccessPoints"]
    resources = [var.file_system_arn, var.access_point_arn]
  }
}

resource "aws_iam_role_policy" "efs" {
  name   = "efs"
  role   = aws_iam_role.workflow.id
  policy = data.aws_iam_policy_document.efs.json
}

data "aws_iam_policy_document" "s3" {
  for_each = {
    workflow = [
      "s3:AbortMultipartUpload",
      "s3:GetObject",
      "s3:ListMultipartUploadParts",
      "s3:PutObject",
    ]
    task = ["s3:GetObject"]
  }

  statement {
    sid       = "ListBuckets"
    actions   = ["s3:GetBucketLocation", "s3:ListBucket"]
    resources = local.own_buckets
  }

  statement {
    sid       = each.key == "workflow" ? "ReadAndUpload" : "Read"
    actions   = each.value
    resources = [for bucket in local.own_buckets : "${bucket}/*"]
  }

  dynamic "statement" {
    for_each = length(var.s3_input_buckets) > 0 ? [1] : []
    content {
      sid       = "InputBuckets"
      actions   = ["s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket"]
      resources = concat(local.input_buckets, [for bucket in local.input_buckets : "${bucket}/*"])
    }
  }
}

resource "aws_iam_role_policy" "workflow_s3" {
  name   = "s3"
  role   = aws_iam_role.workflow.id
  policy = data.aws_iam_policy_document.s3["workflow"].json
}

# Of task jobs, for those that fetch s3:// inputs: reading, nothing else.
resource "aws_iam_role" "task" {
  name_prefix        = "${var.name}-task-"
  description        = "Task jobs of miniwdl-cloud"
  assume_role_policy = data.aws_iam_policy_document.ecs_tasks.json
  tags               = { Name = var.name }
}

resource "aws_iam_role_policy" "task_s3" {
  name   = "s3"
  role   = aws_iam_role.task.id
  policy = data.aws_iam_policy_document.s3["task"].json
}

# Of instances. EC2 jobs of Batch run in the host's network, so their commands can reach the
# instance's credentials: this role can do what the ECS agent needs, nothing else.
resource "aws_iam_role" "instance" {
  name_prefix        = "${var.name}-instance-"
  description        = "Task instances of miniwdl-cloud"
  assume_role_policy = data.aws_iam_policy_document.ec2.json
  tags               = { Name = var.name }
}

resource "aws_iam_role_policy_attachment" "instance" {
  role       = aws_iam_role.instance.name
  policy_arn = "${local.prefix}:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role"
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
