"""miniwdl's container backends: siblings, thin, over jobs/ and filesystems/."""
