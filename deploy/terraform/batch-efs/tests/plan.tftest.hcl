# What would be made, without AWS: terraform init && terraform test

mock_provider "aws" {
  mock_data "aws_availability_zones" {
    defaults = { names = ["us-east-1a", "us-east-1b", "us-east-1c", "us-east-1d"] }
  }
  mock_data "aws_region" {
    defaults = { name = "us-east-1" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com" }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/mock" }
  }
  mock_resource "aws_iam_instance_profile" {
    defaults = { arn = "arn:aws:iam::123456789012:instance-profile/mock" }
  }
  mock_resource "aws_launch_template" {
    defaults = { id = "lt-12345678", latest_version = 1 }
  }
  mock_resource "aws_batch_compute_environment" {
    defaults = { arn = "arn:aws:batch:us-east-1:123456789012:compute-environment/mock" }
  }
  mock_resource "aws_batch_job_queue" {
    defaults = { arn = "arn:aws:batch:us-east-1:123456789012:job-queue/mock" }
  }
  mock_resource "aws_efs_file_system" {
    defaults = { arn = "arn:aws:elasticfilesystem:us-east-1:123456789012:file-system/fs-12345678" }
  }
  mock_resource "aws_efs_access_point" {
    defaults = { arn = "arn:aws:elasticfilesystem:us-east-1:123456789012:access-point/fsap-12345678" }
  }
  mock_resource "aws_sqs_queue" {
    defaults = { arn = "arn:aws:sqs:us-east-1:123456789012:mock" }
  }
  mock_resource "aws_ecs_cluster" {
    defaults = { arn = "arn:aws:ecs:us-east-1:123456789012:cluster/mock" }
  }
  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::mock" }
  }
}

run "defaults" {
  assert {
    condition     = output.workflow_queue == "miniwdl-workflow"
    error_message = "Queues are named after the deployment."
  }
  assert {
    condition     = output.task_queue_fallback == "miniwdl-task-fallback"
    error_message = "There is a fallback queue unless it is turned off."
  }
  assert {
    condition     = length(output.subnet_ids) == 3
    error_message = "Three availability zones are used unless two are asked for."
  }
}

run "without_fallback_in_two_zones" {
  variables {
    name                    = "small"
    enable_task_fallback    = false
    enable_fargate          = false
    availability_zone_count = 2
  }
  assert {
    condition     = output.task_queue_fallback == null
    error_message = "There is no fallback queue."
  }
  assert {
    condition     = output.ecs_cluster == null
    error_message = "There is no ECS cluster."
  }
  assert {
    condition     = length(output.subnet_ids) == 2
    error_message = "Two availability zones are used."
  }
}

run "a_name_that_cannot_be_one" {
  command = plan
  variables {
    name = "Not_A_Name"
  }
  expect_failures = [var.name]
}

run "a_mount_point_that_is_no_path" {
  command = plan
  variables {
    mount_point = "efs/"
  }
  expect_failures = [var.mount_point]
}
