# Members reach each other's file system; nobody else reaches them.

locals {
  # EFS user guide, "Using VPC security groups"; FSx for Lustre user guide, "File system access
  # control with Amazon VPC".
  file_system_ports = {
    efs = { nfs = { first = 2049, last = 2049, about = "NFS within the group" } }
    fsx = {
      lustre  = { first = 988, last = 988, about = "Lustre within the group" }
      clients = { first = 1018, last = 1023, about = "Lustre between clients and servers" }
    }
  }
  ports = merge(
    local.file_system_ports[var.filesystem],
    var.private ? { https = { first = 443, last = 443, about = "Endpoints within the group" } } : {},
  )
}

resource "aws_security_group" "this" {
  count       = local.vpcs
  name_prefix = "${var.name}-"
  description = "Jobs and ${local.servers[var.filesystem]} of miniwdl-cloud"
  vpc_id      = aws_vpc.this[0].id
  tags        = { Name = var.name }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "within" {
  for_each                     = local.own ? local.ports : {}
  security_group_id            = aws_security_group.this[0].id
  description                  = each.value.about
  ip_protocol                  = "tcp"
  from_port                    = each.value.first
  to_port                      = each.value.last
  referenced_security_group_id = aws_security_group.this[0].id
}

resource "aws_vpc_security_group_egress_rule" "all" {
  count             = local.vpcs
  security_group_id = aws_security_group.this[0].id
  description       = "AWS, container registries, and what tasks download"
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}
