"""The embedded Amazon FSx for Lustre: file systems, S3 links and data repository tasks.

Directories stand for file systems. Tasks really copy files to and from the embedded S3. What is not
there: automatic import and export (their policies are kept and shown, nothing moves by itself),
backups, volumes and the other kinds of file system beyond their description.
"""
