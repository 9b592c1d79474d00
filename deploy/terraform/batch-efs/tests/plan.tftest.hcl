# What would be made, without AWS: terraform init && terraform test

mock_provider "aws" {
  source = "../mocks"
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

run "without_events" {
  variables {
    enable_events = false
  }
  assert {
    condition     = length(module.events) == 0
    error_message = "There is no event queue."
  }
}

run "private_subnets" {
  variables {
    private_subnets = true
  }
  assert {
    condition     = length(output.subnet_ids) == 3
    error_message = "Private subnets are in three zones, too."
  }
}

run "subnets_that_are_there" {
  variables {
    subnet_ids        = ["subnet-1", "subnet-2"]
    security_group_id = "sg-1"
  }
  assert {
    condition     = output.subnet_ids == tolist(["subnet-1", "subnet-2"])
    error_message = "Jobs run in the subnets that were named."
  }
  assert {
    condition     = output.security_group_id == "sg-1" && output.vpc_id == "vpc-12345678"
    error_message = "Neither a security group nor a VPC is made."
  }
}

run "a_boundary_that_is_no_policy" {
  command = plan
  variables {
    permissions_boundary = "admin"
  }
  expect_failures = [var.permissions_boundary]
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
