# One machine that is manager and worker, with FSx for Lustre linked to a bucket: the fleet for work
# that fits on one instance.
#
#   source ../fleet/environment && terraform init && terraform apply

provider "aws" {
  default_tags {
    tags = local.tags
  }
}

locals {
  tags = {
    Owner       = var.owner_tag
    Environment = var.environment_tag
  }
  cidr_block  = "10.0.0.0/16"
  made        = var.s3_bucket == ""
  bucket_name = local.made ? module.bucket[0].name : var.s3_bucket
  bucket_arn  = local.made ? module.bucket[0].arn : "${local.prefix}:s3:::${var.s3_bucket}"
  prefix      = "arn:${data.aws_partition.current.partition}"
}

data "aws_partition" "current" {}

# Machines and file system are in one availability zone: traffic between zones costs.
module "network" {
  source                  = "../modules/network"
  name                    = var.name
  filesystem              = "fsx"
  cidr_block              = local.cidr_block
  availability_zone_count = 1
  availability_zone       = var.availability_zone
}

module "bucket" {
  count  = local.made ? 1 : 0
  source = "../modules/bucket"
  name   = var.name
}

module "storage" {
  source                        = "../modules/storage-fsx"
  name                          = var.name
  subnet_id                     = module.network.subnet_ids[0]
  security_group_id             = module.network.security_group_id
  linked_uri                    = "s3://${local.bucket_name}/${var.s3_prefix}"
  storage_capacity_gib          = var.lustre_GiB
  weekly_maintenance_start_time = var.lustre_weekly_maintenance_start_time
}

module "fleet" {
  source            = "../modules/fleet"
  name              = var.name
  tags              = local.tags
  vpc_id            = module.network.vpc_id
  subnet_id         = module.network.subnet_ids[0]
  cidr_block        = local.cidr_block
  security_group_id = module.network.security_group_id
  file_system_id    = module.storage.file_system_id
  lustre_dns_name   = module.storage.dns_name
  lustre_mount_name = module.storage.mount_name
  read_write_bucket_arns = concat(
    [local.bucket_arn],
    [for name in var.s3upload_buckets : "${local.prefix}:s3:::${name}"],
  )
  read_bucket_arns      = [for name in var.s3_input_buckets : "${local.prefix}:s3:::${name}"]
  allowed_networks      = var.allowed_networks
  ssh_public_key        = var.ssh_public_key
  image_id              = var.image_id
  root_volume_gib       = var.root_volume_gib
  miniwdl_cloud_package = var.miniwdl_cloud_package
  manager_instance_type = var.manager_instance_type
  permissions_boundary  = var.permissions_boundary
}
