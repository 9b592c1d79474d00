# With public subnets, instances and Fargate tasks reach AWS and container registries by an address of
# their own, which costs nothing when idle; a NAT gateway would. Nothing can connect to them: the
# security group lets in its own members only.

data "aws_availability_zones" "available" {
  count = local.own ? 1 : 0
  state = "available"
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

data "aws_region" "current" {}

locals {
  own       = length(var.subnet_ids) == 0
  vpcs      = local.own ? 1 : 0
  public    = local.own && !var.private ? 1 : 0
  subnets   = local.own ? var.availability_zone_count : 0
  available = local.own ? data.aws_availability_zones.available[0].names : []
  # The file system's zone comes first.
  zones = var.availability_zone == "" ? local.available : concat(
    [var.availability_zone],
    [for zone in local.available : zone if zone != var.availability_zone],
  )
  servers = { efs = "EFS mount targets", fsx = "Lustre file system" }
}

resource "aws_vpc" "this" {
  count      = local.vpcs
  cidr_block = var.cidr_block
  # File systems and endpoints are found by name.
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = { Name = var.name }
}

resource "aws_internet_gateway" "this" {
  count  = local.public
  vpc_id = aws_vpc.this[0].id
  tags   = { Name = var.name }
}

resource "aws_route_table" "this" {
  count  = local.vpcs
  vpc_id = aws_vpc.this[0].id
  tags   = { Name = var.name }
}

resource "aws_route" "default" {
  count                  = local.public
  route_table_id         = aws_route_table.this[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this[0].id
}

resource "aws_subnet" "this" {
  count                   = local.subnets
  vpc_id                  = aws_vpc.this[0].id
  cidr_block              = cidrsubnet(var.cidr_block, 2, count.index)
  availability_zone       = local.zones[count.index]
  map_public_ip_on_launch = !var.private
  tags                    = { Name = var.name }
}

resource "aws_route_table_association" "this" {
  count          = local.subnets
  subnet_id      = aws_subnet.this[count.index].id
  route_table_id = aws_route_table.this[0].id
}

# Traffic with S3 stays inside AWS; a gateway endpoint is free.
resource "aws_vpc_endpoint" "s3" {
  count             = local.vpcs
  vpc_id            = aws_vpc.this[0].id
  vpc_endpoint_type = "Gateway"
  service_name      = "com.amazonaws.${data.aws_region.current.name}.s3"
  route_table_ids   = [aws_route_table.this[0].id]
  tags              = { Name = var.name }
}
