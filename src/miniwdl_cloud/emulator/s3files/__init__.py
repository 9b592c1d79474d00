"""Amazon S3 Files, emulated: file systems over a bucket, access points, mount targets.

A directory stands for each file system. It is kept the same as the bucket in both directions, soon
after a change on either side; where both have changed, the bucket wins, as on AWS. What is simpler
here: content is in the directory at once and stays there, where S3 Files fetches it when it is
read; synchronisation settings and file system policies are not there; and the directory allows
hard links, which S3 Files does not (user guide, "Unsupported features, limits, and quotas").
"""
