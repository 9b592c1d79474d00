# AWS Batch queues, an EFS file system, an S3 bucket and roles to run WDL workflows with, in a VPC of
# their own: what the CloudFormation template batch-efs.yaml makes.
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
  availability_zone_count = var.availability_zone_count
}

module "storage" {
  source            = "../modules/storage-efs"
  name              = var.name
  subnet_ids        = module.network.subnet_ids
  subnet_count      = module.network.subnet_count
  security_group_id = module.network.security_group_id
}

module "bucket" {
  source                = "../modules/bucket"
  name                  = var.name
  stage_expiration_days = var.stage_expiration_days
}

module "batch" {
  source                    = "../modules/batch"
  name                      = var.name
  tags                      = local.tags
  subnet_ids                = module.network.subnet_ids
  security_group_id         = module.network.security_group_id
  file_system_arn           = module.storage.file_system_arn
  access_point_id           = module.storage.access_point_id
  access_point_arn          = module.storage.access_point_arn
  mount_point               = var.mount_point
  bucket_name               = module.bucket.name
  bucket_arn                = module.bucket.arn
  s3upload_buckets          = var.s3upload_buckets
  s3_input_buckets          = var.s3_input_buckets
  create_spot_service_roles = var.create_spot_service_roles
  task_max_vcpus            = var.task_max_vcpus
  workflow_max_vcpus        = var.workflow_max_vcpus
  spot_bid_percentage       = var.spot_bid_percentage
  task_instance_types       = var.task_instance_types
  task_root_volume_gib      = var.task_root_volume_gib
  enable_task_fallback      = var.enable_task_fallback
  enable_fargate            = var.enable_fargate
}
