# What a machine does at its first boot: it writes down the Ansible roles and what they need to know,
# and applies them to itself. cloud-init takes it compressed; EC2 takes 16 KB at most.

locals {
  ansible = "${path.module}/../../../ansible"
  files = concat(
    ["ansible.cfg", "manager.yml", "monolith.yml", "worker.yml"],
    tolist(fileset(local.ansible, "roles/**")),
  )
  common = {
    common_aws_region        = data.aws_region.current.name
    firewall_network         = var.cidr_block
    lustre_client_dns_name   = var.lustre_dns_name
    lustre_client_mount_name = var.lustre_mount_name
    miniwdl_package          = var.miniwdl_cloud_package
  }
  burst_settings = var.workers == null ? {} : {
    scale       = var.workers.burst_scaling
    burst_group = local.group_names["burst"]
    burst_max   = tostring(local.groups["burst"].max)
  }
  machines = merge(
    {
      manager = {
        playbook  = var.workers == null ? "monolith.yml" : "manager.yml"
        ends      = "false"
        variables = merge(local.common, { manager_settings = local.burst_settings })
      }
    },
    {
      for kind, group in local.groups : kind => {
        playbook = "worker.yml"
        ends     = "true"
        variables = merge(local.common, {
          worker_settings = merge(
            { group = local.group_names[kind] },
            group.burst ? {
              burst                     = "true"
              burst_worker_idle_minutes = tostring(var.workers.burst_idle_minutes)
            } : {},
          )
        })
      }
    },
  )
  user_data = {
    for name, machine in local.machines : name => base64gzip(join("\n", ["#cloud-config", yamlencode({
      write_files = concat(
        [for file in local.files : {
          path        = "/opt/miniwdl-cloud-ansible/${file}"
          permissions = "0644"
          content     = file("${local.ansible}/${file}")
        }],
        [
          {
            path        = "/opt/miniwdl-cloud-ansible/machine.json"
            permissions = "0600"
            content     = jsonencode(machine.variables)
          },
          {
            path        = "/opt/miniwdl-cloud-ansible/provision"
            permissions = "0755"
            content     = file("${path.module}/provision")
          },
        ],
      )
      runcmd = [["/opt/miniwdl-cloud-ansible/provision", machine.playbook, machine.ends]]
    })]))
  }
}
