# AWS Batch queues, an EFS file system, an S3 bucket and roles to run WDL workflows with, in a VPC of
# their own, or in subnets that are there: what the CloudFormation templates batch-efs*.yaml make.
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
  filesystem              = "efs"
  private                 = var.private_subnets
  subnet_ids              = var.subnet_ids
  security_group_id       = var.security_group_id
  availability_zone_count = var.availability_zone_count
}

module "bucket" {
  source                = "../modules/bucket"
  name                  = var.name
  stage_expiration_days = var.stage_expiration_days
}

module "storage" {
  source            = "../modules/storage-efs"
  name              = var.name
  subnet_ids        = module.network.subnet_ids
  subnet_count      = module.network.subnet_count
  security_group_id = module.network.security_group_id
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

  engine      = var.engine
  mount_point = var.mount_point
  efs = {
    file_system_arn  = module.storage.file_system_arn
    access_point_id  = module.storage.access_point_id
    access_point_arn = module.storage.access_point_arn
  }
  ecs = var.enable_fargate ? {
    cluster_name       = module.ecs[0].cluster_name
    cluster_arn        = module.ecs[0].cluster_arn
    log_group          = module.ecs[0].log_group
    execution_role_arn = module.ecs[0].execution_role_arn
  } : null
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

module "ecs" {
  source               = "../modules/ecs"
  count                = var.enable_fargate ? 1 : 0
  name                 = var.name
  permissions_boundary = var.permissions_boundary
}
