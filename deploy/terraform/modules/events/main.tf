# Task jobs' state changes wake the workflow job that waits for them; without, it would have to ask
# Batch about each job again and again. Who missed a message asks Batch all the same, so that messages
# need not be kept for long.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  rule_name = "${var.name}-task-jobs"
  # Put together, so that the queue's policy need not wait for the rule, nor the rule for the policy.
  rule_arn = join(":", [
    "arn", data.aws_partition.current.partition, "events", data.aws_region.current.name,
    data.aws_caller_identity.current.account_id, "rule/${local.rule_name}",
  ])
}

resource "aws_sqs_queue" "this" {
  name_prefix                = "${var.name}-events-"
  message_retention_seconds  = 120
  visibility_timeout_seconds = 10
  sqs_managed_sse_enabled    = true
  tags                       = { Name = var.name }
}

resource "aws_cloudwatch_event_rule" "this" {
  name        = local.rule_name
  description = "State changes of the task jobs of miniwdl-cloud"
  state       = "ENABLED"
  tags        = { Name = var.name }

  event_pattern = jsonencode({
    source      = ["aws.batch"]
    detail-type = ["Batch Job State Change"]
    detail = {
      status   = ["RUNNING", "SUCCEEDED", "FAILED"]
      jobQueue = var.task_queue_arns
    }
  })
}

resource "aws_cloudwatch_event_target" "this" {
  rule      = aws_cloudwatch_event_rule.this.name
  target_id = "queue"
  arn       = aws_sqs_queue.this.arn
}

data "aws_iam_policy_document" "this" {
  statement {
    sid       = "EventRuleOnly"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.this.arn]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [local.rule_arn]
    }
  }
}

resource "aws_sqs_queue_policy" "this" {
  queue_url = aws_sqs_queue.this.id
  policy    = data.aws_iam_policy_document.this.json
}
