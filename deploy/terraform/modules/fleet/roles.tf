# What the machines may do; tasks on them do not come by these roles (the firewall of the Ansible
# roles, and the hop limit of instance metadata).

locals {
  prefix = "arn:${data.aws_partition.current.partition}"
  where  = "${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}"
  kinds  = var.workers == null ? ["manager"] : ["manager", "worker"]
  group_arns = [
    for name in values(local.group_names) :
    "${local.prefix}:autoscaling:${local.where}:autoScalingGroup:*:autoScalingGroupName/${name}"
  ]
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.${data.aws_partition.current.dns_suffix}"]
    }
  }
}

resource "aws_iam_role" "this" {
  for_each             = toset(local.kinds)
  name_prefix          = "${var.name}-${each.key}-"
  description          = "The ${each.key} of a miniwdl-cloud fleet"
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  permissions_boundary = var.permissions_boundary == "" ? null : var.permissions_boundary
  tags                 = { Name = var.name }
}

resource "aws_iam_instance_profile" "this" {
  for_each    = aws_iam_role.this
  name_prefix = "${var.name}-${each.key}-"
  role        = each.value.name
  tags        = { Name = var.name }
}

# fsx_to_s3, and inputs and uploads of runs.
data "aws_iam_policy_document" "storage" {
  statement {
    actions   = ["s3:ListBucket", "s3:GetBucketLocation"]
    resources = concat(var.read_write_bucket_arns, var.read_bucket_arns)
  }
  statement {
    actions   = ["s3:GetObject"]
    resources = [for arn in concat(var.read_write_bucket_arns, var.read_bucket_arns) : "${arn}/*"]
  }
  statement {
    actions   = ["s3:PutObject", "s3:AbortMultipartUpload"]
    resources = [for arn in var.read_write_bucket_arns : "${arn}/*"]
  }
  statement {
    actions = ["fsx:CreateDataRepositoryTask"]
    resources = [
      "${local.prefix}:fsx:${local.where}:file-system/${var.file_system_id}",
      "${local.prefix}:fsx:${local.where}:task/*",
    ]
  }
  statement {
    actions   = ["fsx:CancelDataRepositoryTask"]
    resources = ["${local.prefix}:fsx:${local.where}:task/*"]
  }
  # These know no resources (Service Authorization Reference, Amazon FSx).
  statement {
    actions = [
      "fsx:DescribeDataRepositoryAssociations",
      "fsx:DescribeDataRepositoryTasks",
      "fsx:DescribeFileSystems",
    ]
    resources = ["*"]
  }
}

resource "aws_iam_role_policy" "storage" {
  name   = "storage"
  role   = aws_iam_role.this["manager"].id
  policy = data.aws_iam_policy_document.storage.json
}

# Bursts by the manager, and its commands.
data "aws_iam_policy_document" "scaling" {
  count = var.workers == null ? 0 : 1
  # It knows no resources (Service Authorization Reference, Amazon EC2 Auto Scaling).
  statement {
    actions   = ["autoscaling:DescribeAutoScalingGroups"]
    resources = ["*"]
  }
  statement {
    actions   = ["autoscaling:SetDesiredCapacity"]
    resources = local.group_arns
  }
}

resource "aws_iam_role_policy" "scaling" {
  count  = var.workers == null ? 0 : 1
  name   = "scaling"
  role   = aws_iam_role.this["manager"].id
  policy = data.aws_iam_policy_document.scaling[0].json
}

# A worker that leaves lowers its group's number.
data "aws_iam_policy_document" "leaving" {
  count = var.workers == null ? 0 : 1
  statement {
    actions   = ["autoscaling:TerminateInstanceInAutoScalingGroup"]
    resources = local.group_arns
  }
}

resource "aws_iam_role_policy" "leaving" {
  count  = var.workers == null ? 0 : 1
  name   = "leaving"
  role   = aws_iam_role.this["worker"].id
  policy = data.aws_iam_policy_document.leaving[0].json
}

resource "aws_iam_role_policy_attachment" "worker" {
  for_each   = toset(var.workers == null ? [] : var.workers.policy_arns)
  role       = aws_iam_role.this["worker"].name
  policy_arn = each.value
}
