# AWS Batch queues, an FSx for Lustre file system, an S3 bucket and roles to run WDL workflows with, in
# a VPC of their own, or in subnets that are there: what the CloudFormation templates batch-fsx*.yaml
# make.
#
#   terraform init && terraform apply -var environment_tag=lab -var owner_tag=me
#   miniwdl-aws-submit --self-test --follow --workflow-queue miniwdl-workflow

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
}

module "network" {
  source                  = "../modules/network"
  name                    = var.name
  filesystem              = "fsx"
  private                 = var.private_subnets
  subnet_ids              = var.subnet_ids
  security_group_id       = var.security_group_id
  availability_zone_count = var.availability_zone_count
  availability_zone       = var.availability_zone
}

module "bucket" {
  source                = "../modules/bucket"
  name                  = var.name
  stage_expiration_days = var.stage_expiration_days
}

module "storage" {
  source                        = "../modules/storage-fsx"
  name                          = var.name
  subnet_id                     = module.network.subnet_ids[0]
  security_group_id             = module.network.security_group_id
  linked_uri                    = "s3://${module.bucket.name}/fsx"
  storage_capacity_gib          = var.lustre_GiB
  weekly_maintenance_start_time = var.lustre_weekly_maintenance_start_time
  deployment_type               = var.lustre_deployment_type
  kms_key_id                    = var.lustre_kms_key_id
}

module "batch" {
  source                    = "../modules/batch"
  name                      = var.name
  tags                      = local.tags
  subnet_ids                = module.network.subnet_ids
  security_group_id         = module.network.security_group_id
  bucket_name               = module.bucket.name
  bucket_arn                = module.bucket.arn
  s3upload_buckets          = var.s3upload_buckets
  s3_input_buckets          = var.s3_input_buckets
  permissions_boundary      = var.permissions_boundary
  create_spot_service_roles = var.create_spot_service_roles
  task_max_vcpus            = var.task_max_vcpus
  workflow_max_vcpus        = var.workflow_max_vcpus
  spot_bid_percentage       = var.spot_bid_percentage
  task_instance_types       = var.task_instance_types
  gpu_instance_types        = var.gpu_instance_types
  task_root_volume_gib      = var.task_root_volume_gib
  enable_task_fallback      = var.enable_task_fallback

  fsx = {
    file_system_id = module.storage.file_system_id
    dns_name       = module.storage.dns_name
    mount_name     = module.storage.mount_name
  }
  events = var.enable_events ? {
    queue_url = module.events[0].queue_url
    queue_arn = module.events[0].queue_arn
  } : null
}

module "events" {
  source          = "../modules/events"
  count           = var.enable_events ? 1 : 0
  name            = var.name
  task_queue_arns = module.batch.task_queue_arns
}
