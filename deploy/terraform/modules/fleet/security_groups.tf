# From outside, the manager's SSH and mosh are open, to the networks that are named. Within the fleet,
# what Docker Swarm needs, and SSH. What goes out is up to the file system's group.

locals {
  # Docker, "Getting started with Swarm mode": open protocols and ports between the hosts.
  within = {
    ssh           = { protocol = "tcp", port = 22, about = "SSH from the manager" }
    swarm         = { protocol = "tcp", port = 2377, about = "Swarm management" }
    discovery     = { protocol = "tcp", port = 7946, about = "Swarm discovery" }
    discovery-udp = { protocol = "udp", port = 7946, about = "Swarm discovery" }
    overlay       = { protocol = "udp", port = 4789, about = "Swarm overlay networks" }
  }
  # mosh, manual: "-p" and its default range.
  outside = {
    ssh  = { protocol = "tcp", first = 22, last = 22, about = "SSH" }
    mosh = { protocol = "udp", first = 60000, last = 61000, about = "mosh" }
  }
  opened = {
    for pair in setproduct(keys(local.outside), var.allowed_networks) :
    "${pair[0]}-${pair[1]}" => merge(local.outside[pair[0]], { network = pair[1] })
  }
}

resource "aws_security_group" "fleet" {
  name_prefix = "${var.name}-fleet-"
  description = "Machines of a miniwdl-cloud fleet"
  vpc_id      = var.vpc_id
  tags        = { Name = "${var.name}-fleet" }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "within" {
  #checkov:skip=CKV_AWS_24:It is open to members of this group only, which checkov does not see.
  for_each                     = local.within
  security_group_id            = aws_security_group.fleet.id
  description                  = each.value.about
  ip_protocol                  = each.value.protocol
  from_port                    = each.value.port
  to_port                      = each.value.port
  referenced_security_group_id = aws_security_group.fleet.id
}

resource "aws_security_group" "manager" {
  name_prefix = "${var.name}-manager-"
  description = "Logins on the manager of a miniwdl-cloud fleet"
  vpc_id      = var.vpc_id
  tags        = { Name = "${var.name}-manager" }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "outside" {
  for_each          = local.opened
  security_group_id = aws_security_group.manager.id
  description       = each.value.about
  ip_protocol       = each.value.protocol
  from_port         = each.value.first
  to_port           = each.value.last
  cidr_ipv4         = each.value.network
}
