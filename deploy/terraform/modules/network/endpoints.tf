# From private subnets, jobs reach AWS through these, and nothing else, so that every container image
# has to be in ECR. They cost money by the hour, also when idle. Workflow jobs take no public address:
# miniwdl-aws-submit --no-public-ip.

locals {
  # What jobs, instances and the workflow job call; Fargate and the ECS agent need the first six (ECS
  # developer guide, "VPC endpoints").
  services = concat(
    ["ecr.api", "ecr.dkr", "logs", "ecs", "ecs-agent", "ecs-telemetry", "batch", "ec2", "sqs"],
    [{ efs = "elasticfilesystem", fsx = "fsx" }[var.filesystem]],
  )
}

resource "aws_vpc_endpoint" "interface" {
  for_each            = toset(local.own && var.private ? local.services : [])
  vpc_id              = aws_vpc.this[0].id
  vpc_endpoint_type   = "Interface"
  service_name        = "com.amazonaws.${data.aws_region.current.name}.${each.key}"
  private_dns_enabled = true
  subnet_ids          = aws_subnet.this[*].id
  security_group_ids  = [aws_security_group.this[0].id]
  tags                = { Name = var.name }
}
