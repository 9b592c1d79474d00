# What would be made, without AWS: terraform init && terraform test

mock_provider "aws" {
  source = "../mocks"
}

variables {
  allowed_networks = ["203.0.113.7/32"]
  ssh_public_key   = "ssh-ed25519 AAAA test"
  image_id         = "ami-12345678"
}

run "defaults" {
  assert {
    condition     = output.linked_location == "s3://mock/fleet"
    error_message = "The file system is linked to the bucket that is made."
  }
  assert {
    condition     = length(output.user_data_bytes) == 1
    error_message = "There is one machine."
  }
}

run "the_whole_world" {
  command = plan
  variables {
    allowed_networks = ["0.0.0.0/0"]
  }
  expect_failures = [var.allowed_networks]
}
