# What would be made, without AWS: terraform init && terraform test

mock_provider "aws" {
  source = "../mocks"
}

run "defaults" {
  assert {
    condition     = output.linked_location == "s3://mock/fsx"
    error_message = "The file system is linked to the bucket."
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

run "persistent_with_a_key" {
  variables {
    lustre_GiB             = 4800
    lustre_deployment_type = "PERSISTENT_2"
    lustre_kms_key_id      = "arn:aws:kms:us-east-1:123456789012:key/12345678"
    availability_zone      = "us-east-1c"
  }
  assert {
    condition     = output.file_system_id == "fs-12345678"
    error_message = "A persistent file system may have a key of one's own."
  }
}

run "one_subnet_that_is_there" {
  variables {
    subnet_ids         = ["subnet-1"]
    security_group_id  = "sg-1"
    gpu_instance_types = ["g6"]
  }
  assert {
    condition     = output.subnet_ids == tolist(["subnet-1"])
    error_message = "Jobs run in the subnet that was named."
  }
}

run "a_maintenance_time_that_is_none" {
  command = plan
  variables {
    lustre_weekly_maintenance_start_time = "sunday"
  }
  expect_failures = [var.lustre_weekly_maintenance_start_time]
}

run "a_size_that_fsx_does_not_have" {
  command = plan
  variables {
    lustre_GiB = 2000
  }
  expect_failures = [var.lustre_GiB]
}

run "a_name_that_cannot_be_one" {
  command = plan
  variables {
    name = "Not_A_Name"
  }
  expect_failures = [var.name]
}
