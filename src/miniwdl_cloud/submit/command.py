"""What `miniwdl-aws-submit` does, from the options to the exit code."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import settings as s
from ..errors import TooLarge
from ..settings import environment
from . import request as requests
from . import shipping, source, staging, studio
from .deployment import Deployment, resolve
from .follow import Follower
from .launch import BatchLauncher, EcsLauncher, Launcher
from .options import Options
from .run_args import RunArguments

if TYPE_CHECKING:
    from ..aws.s3 import S3Uri
    from ..aws.session import AwsSession
    from ..runs.progress import Progress

INLINE_INPUTS_MAX = 3000
"""Characters of inputs JSON up to which it travels as an argument, where no archive takes it."""
SLOW_TO_READ = 1 << 30
"""Bytes of local input files above which reading them is announced."""


@dataclass
class Plan:
    """All that a submission will send.

    Parameters
    ----------
    request
        The requests to AWS Batch or Amazon ECS.
    uploads
        Local input files.
    objects
        Other objects for the staging location: WDL archive, inputs file.
    """

    request: requests.WorkflowRequest
    uploads: list[staging.Upload] = field(default_factory=list)
    objects: dict[S3Uri, bytes] = field(default_factory=dict)


def submit(options: Options) -> int:
    """Submit a workflow job; wait for it if asked.

    Prints the job's id, and nothing else, on standard output.

    Returns
    -------
    int
        0 once submitted; the exit code of `miniwdl run` if waited for.
    """
    from ..aws.batch import BatchClient
    from ..aws.ecs import EcsClient
    from ..aws.s3 import S3, S3Options
    from ..aws.session import AwsSession

    session = AwsSession(_region(options), options.settings.get(s.BOTO3_RETRIES))
    batch, s3 = BatchClient(session), S3(session, S3Options.of(options.settings))
    ecs = EcsClient(session)
    talkative = options.follow or options.self_test or _is_verbose(options)
    say = _say if talkative or sys.stderr.isatty() else _say_nothing
    options, detected = studio.detect(options, session, batch)
    if detected:
        say(detected)
    deployment = resolve(options, session, batch, ecs, s3)
    plan = make_plan(options, deployment, session.region)
    launcher = EcsLauncher(ecs, _say) if deployment.place else BatchLauncher(batch)
    registered = launcher.is_registered(plan.request.definition_name)
    if options.dry_run:
        print(json.dumps(_as_json(plan, launcher, registered), indent=2))
        return 0
    staging.send(s3, plan.uploads, _say)
    for uri, data in plan.objects.items():
        if not staging.is_there(s3, uri, len(data)):
            s3.put_bytes(data=data, uri=uri)
    if not registered:
        launcher.register(plan.request.definition)
    passed = _passed_variables(plan)
    if passed:
        say(f"environment variables passed on (--no-env passes none): {', '.join(passed)}")
    job_id = launcher.start(plan.request.submit, patient=not registered)
    where = deployment.place.cluster if deployment.place else deployment.workflow_queue
    say(f"submitted {plan.request.name} to {where}")
    print(job_id, flush=True)
    if not (options.wait or options.follow):
        return 0
    return _wait(options, session, launcher, job_id)


def make_plan(options: Options, deployment: Deployment, region: str) -> Plan:
    """Work out all requests and uploads; sends nothing.

    Raises
    ------
    UsageError, RejectedWdl, TooLarge
        The run cannot be submitted as asked.
    """
    unique = base64.b32encode(secrets.token_bytes(5)).decode().lower()
    variables = requests.environment(deployment, options, environment())
    if options.self_test:
        command = requests.self_test_command(
            deployment, options.run_arguments, time.strftime("%Y%m%d_%H%M%S_") + unique
        )
        name = requests.job_name(options, None, unique)
        request = requests.build(deployment, options, name, command, variables, region=region)
        requests.room_for_wdl(request)
        return Plan(request)

    from .. import miniwdl_compat as compat

    arguments = RunArguments(options.run_arguments, compat.run_options())
    mount = deployment.filesystem.mount
    original = source.read(arguments, mount)
    local = staging.LocalInputs(mount)
    source.note_inputs(original, local)
    if local.size() > SLOW_TO_READ:
        _say(f"reading {local.size() / 1e9:,.1f} GB of local input files")
    uris, uploads = local.stage_to(deployment.stage_uri)
    run = source.stage_inputs(original, local, uris)
    name = requests.job_name(options, arguments.wdl, unique)
    objects: dict[S3Uri, bytes] = {}

    if run.wdl_path is None:
        final = _without_local_inputs_file(run, deployment, objects)
        command = requests.run_command(deployment, final.arguments)
        request = requests.build(deployment, options, name, command, variables, region=region)
        requests.room_for_wdl(request)
        return Plan(request, uploads, objects)

    data = source.archive(run, original)
    final = run.arguments.with_wdl(shipping.WDL_SENTINEL)
    if run.inputs_given:
        final = final.with_option(source.INPUT_OPTIONS, None)  # the archive has them
    command = requests.run_command(deployment, final.arguments)
    bare = requests.build(deployment, options, name, command, variables, region=region)
    shipment = _ship(data, requests.room_for_wdl(bare), options, deployment, objects)
    request = requests.build(deployment, options, name, command, variables, shipment, region)
    return Plan(request, uploads, objects)


def _ship(
    data: bytes,
    room: shipping.Room,
    options: Options,
    deployment: Deployment,
    objects: dict[S3Uri, bytes],
) -> shipping.Shipment:
    if not options.always_stage:
        shipment = shipping.ship_in_request(data, room)
        if shipment is not None:
            return shipment
    if not deployment.stage_uri:
        raise shipping.too_large(len(shipping.encode(data)))
    from ..aws.s3 import parse_s3_uri

    shipment = shipping.ship_by_staging(data, deployment.stage_uri)
    objects[parse_s3_uri(shipment.environment[shipping.URI_ENV])] = data
    return shipment


def _without_local_inputs_file(
    run: source.Run, deployment: Deployment, objects: dict[S3Uri, bytes]
) -> RunArguments:
    if not run.inputs_given:
        return run.arguments
    text = json.dumps(run.inputs)
    if len(text) <= INLINE_INPUTS_MAX:
        return run.arguments.with_option(source.INPUT_OPTIONS, text)
    if not deployment.stage_uri:
        raise TooLarge(
            f"The inputs file is too large to travel with the job ({len(text):,} characters); name"
            " a staging location with --stage s3://bucket/prefix (or a DefaultStageUri tag on the"
            f" workflow queue), or put the file under {deployment.filesystem.mount}.",
            {"characters": len(text)},
        )
    from ..aws.s3 import parse_s3_uri

    data = text.encode()
    digest = hashlib.sha256(data).hexdigest()
    uri = parse_s3_uri(deployment.stage_uri) / f"inputs/sha256/{digest[:2]}/{digest}/inputs.json"
    objects[uri] = data
    return run.arguments.with_option(source.INPUT_OPTIONS, str(uri))


def _wait(options: Options, session: AwsSession, launcher: Launcher, job_id: str) -> int:
    from ..aws.logs import LogStream
    from ..runner.signals import END_OF_LOG
    from ..runs.progress import looking, shown

    def wait(progress: Progress | None, say: Callable[[str], None]) -> int:
        return Follower(
            launcher,
            job_id,
            say,
            (lambda group, name: LogStream(session, group, name)) if options.follow else None,
            None if options.self_test else END_OF_LOG,
            progress=progress,
        ).wait()

    try:
        if options.quiet:
            return wait(None, _say)
        with shown(looking(session, job_id), options.follow, _say) as (progress, say):
            return wait(progress, say)
    except KeyboardInterrupt:
        _say(
            f"interrupted; the workflow job goes on. To terminate it:\n"
            f"    {launcher.how_to_end(job_id, session.region)}"
        )
        return 130


def _as_json(plan: Plan, launcher: Launcher, registered: bool) -> dict[str, Any]:
    calls: list[dict[str, Any]] = [
        {
            "service": "s3",
            "operation": "PutObject",
            "request": {"Bucket": upload.uri.bucket, "Key": upload.uri.key},
            "file": str(upload.path),
            "bytes": upload.size,
        }
        for upload in plan.uploads
    ]
    calls += [
        {
            "service": "s3",
            "operation": "PutObject",
            "request": {"Bucket": uri.bucket, "Key": uri.key},
            "bytes": len(data),
        }
        for uri, data in plan.objects.items()
    ]
    if not registered:
        calls.append(
            {
                "service": launcher.service,
                "operation": launcher.register_operation,
                "request": plan.request.definition,
            }
        )
    calls.append(
        {
            "service": launcher.service,
            "operation": launcher.start_operation,
            "request": plan.request.submit,
        }
    )
    return {"requests": calls}


def _passed_variables(plan: Plan) -> list[str]:
    # names, never values
    variables = plan.request.environment
    mine = environment()
    return [
        item["name"]
        for item in variables
        if item["name"] in mine and item["name"] not in requests.LAUNCH_VARIABLES
    ]


def _region(options: Options) -> str | None:
    # boto3 itself reads only the second of these variables.
    environ = environment()
    region = options.settings.get(s.REGION)
    return region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or None


def _is_verbose(options: Options) -> bool:
    return bool({"-v", "--verbose", "--debug"} & set(options.run_arguments))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _say_nothing(text: str) -> None:
    pass
