"""Upload the outputs of a run directory as `miniwdl-run-s3upload` does after its run.

python -m benchmarks.upload_run RUN_DIRECTORY ROOT s3://bucket/folder/
"""

from __future__ import annotations

import sys
from pathlib import Path

from miniwdl_cloud.aws.s3 import S3, parse_s3_uri
from miniwdl_cloud.aws.session import AwsSession
from miniwdl_cloud.runner.signals import SignalRelay, say
from miniwdl_cloud.runner.upload import upload_outputs


def main() -> None:
    """Command line."""
    run_dir, root, folder = sys.argv[1:]
    with SignalRelay() as relay:
        s3 = S3(AwsSession())
        files = {path.name: str(path) for path in sorted(Path(run_dir, "work").iterdir())}
        outputs = {"run.files": list(files.values())}
        upload_outputs(s3, Path(run_dir), Path(root), outputs, parse_s3_uri(folder), relay, say)


if __name__ == "__main__":
    main()
