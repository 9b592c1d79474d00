# What would be made, without AWS: terraform init && terraform test

mock_provider "aws" {
  source = "../mocks"
}

variables {
  allowed_networks = ["203.0.113.7/32", "198.51.100.0/24"]
  ssh_public_key   = "ssh-ed25519 AAAA test"
  image_id         = "ami-12345678"
}

run "defaults" {
  assert {
    condition     = output.burst_worker_group == "fleet-burst"
    error_message = "Groups are named after the fleet."
  }
  assert {
    condition     = output.linked_location == "s3://mock/fleet"
    error_message = "The file system is linked to the bucket that is made."
  }
  assert {
    condition     = alltrue([for bytes in values(output.user_data_bytes) : bytes < 16384])
    error_message = "EC2 takes 16 KB of user data."
  }
}

run "a_bucket_that_is_there" {
  variables {
    s3_bucket         = "mine"
    s3_prefix         = "projects/one"
    s3_input_buckets  = ["theirs"]
    worker_privileges = ["arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryReadOnly"]
  }
  assert {
    condition     = output.linked_location == "s3://mine/projects/one"
    error_message = "The file system is linked to the bucket that is named."
  }
}

run "the_whole_world" {
  command = plan
  variables {
    allowed_networks = ["0.0.0.0/0"]
  }
  expect_failures = [var.allowed_networks]
}

run "no_network" {
  command = plan
  variables {
    allowed_networks = ["my office"]
  }
  expect_failures = [var.allowed_networks]
}

run "no_key" {
  command = plan
  variables {
    ssh_public_key = "~/.ssh/id_ed25519.pub"
  }
  expect_failures = [var.ssh_public_key]
}

run "a_size_that_is_none" {
  command = plan
  variables {
    lustre_GiB = 2000
  }
  expect_failures = [var.lustre_GiB]
}

run "scaling_that_is_none" {
  command = plan
  variables {
    burst_scaling = "yes"
  }
  expect_failures = [var.burst_scaling]
}
