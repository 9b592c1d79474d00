"""What `miniwdl-aws-submit` does, from the options to the exit code."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import settings as s
from ..errors import ServiceError, TooLarge, Unreachable
from ..settings import environment
from . import request as requests
from . import shipping, source, staging, studio
from .deployment import Deployment, resolve
from .follow import Follower
from .options import Options
from .run_args import RunArguments

if TYPE_CHECKING:
    from ..aws.batch import BatchClient
    from ..aws.s3 import S3Uri
    from ..aws.session import AwsSession

INLINE_INPUTS_MAX = 3000
"""Characters of inputs JSON up to which it travels as an argument, where no archive takes it."""
SLOW_TO_READ = 1 << 30
"""Bytes of local input files above which reading them is announced."""
DEFINITION_VISIBLE_S = 30.0
"""Seconds that a job definition just registered may be unknown to SubmitJob."""


@dataclass
class Plan:
    """All that a submission will send.

    Parameters
    ----------
    request
        The requests to AWS Batch.
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
    from ..aws.s3 import S3, S3Options
    from ..aws.session import AwsSession

    session = AwsSession(_region(options), options.settings.get(s.BOTO3_RETRIES))
    batch, s3 = BatchClient(session), S3(session, S3Options.of(options.settings))
    talkative = options.follow or options.self_test or _is_verbose(options)
    say = _say if talkative or sys.stderr.isatty() else _say_nothing
    options, detected = studio.detect(options, session, batch)
    if detected:
        say(detected)
    deployment = resolve(options, session, batch, s3)
    plan = make_plan(options, deployment)
    name = plan.request.definition["jobDefinitionName"]
    registered = batch.find_definition(name) is not None
    if options.dry_run:
        print(json.dumps(_as_json(plan, registered), indent=2))
        return 0
    staging.send(s3, plan.uploads, _say)
    for uri, data in plan.objects.items():
        if not staging.is_there(s3, uri, len(data)):
            s3.put_bytes(data=data, uri=uri)
    if not registered:
        batch.register_definition(plan.request.definition)
    passed = _passed_variables(plan)
    if passed:
        say(f"environment variables passed on (--no-env passes none): {', '.join(passed)}")
    job_id = submit_job(batch, plan.request.submit, patient=not registered)
    say(f"submitted {plan.request.submit['jobName']} to {deployment.workflow_queue}")
    print(job_id, flush=True)
    if not (options.wait or options.follow):
        return 0
    return _wait(options, session, batch, job_id)


def make_plan(options: Options, deployment: Deployment) -> Plan:
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
        request = requests.build(deployment, options, name, command, variables)
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
        request = requests.build(deployment, options, name, command, variables)
        requests.room_for_wdl(request)
        return Plan(request, uploads, objects)

    data = source.archive(run, original)
    final = run.arguments.with_wdl(shipping.WDL_SENTINEL)
    if run.inputs_given:
        final = final.with_option(source.INPUT_OPTIONS, None)  # the archive has them
    command = requests.run_command(deployment, final.arguments)
    bare = requests.build(deployment, options, name, command, variables)
    shipment = _ship(data, requests.room_for_wdl(bare), options, deployment, objects)
    request = requests.build(deployment, options, name, command, variables, shipment)
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


def submit_job(batch: BatchClient, request: dict[str, Any], patient: bool) -> str:
    """Submit a workflow job once; returns its id.

    Parameters
    ----------
    patient
        Whether its job definition was made just now, so that SubmitJob may not know it yet.

    Raises
    ------
    MiniwdlCloudError
        AWS refused it, or did not answer.
    """
    deadline = time.monotonic() + DEFINITION_VISIBLE_S
    while True:
        try:
            return batch.submit(request)
        except ServiceError as exn:
            unseen = patient and batch.definition_not_visible_yet(exn)
            if not unseen or time.monotonic() > deadline:
                raise
            time.sleep(1.0)
        except Unreachable:
            # SubmitJob has no client token: perhaps only its answer was lost.
            for job in batch.list_jobs(request["jobQueue"], name=request["jobName"]):
                return str(job["jobId"])
            raise


def _wait(options: Options, session: AwsSession, batch: BatchClient, job_id: str) -> int:
    from ..aws.logs import LogStream
    from ..runner.signals import END_OF_LOG

    follower = Follower(
        batch,
        job_id,
        _say,
        (lambda group, name: LogStream(session, group, name)) if options.follow else None,
        None if options.self_test else END_OF_LOG,
    )
    try:
        return follower.wait()
    except KeyboardInterrupt:
        _say(
            f"interrupted; the workflow job goes on. To terminate it:\n"
            f"    aws batch terminate-job --region {session.region} --job-id {job_id}"
            " --reason interrupted"
        )
        return 130


def _as_json(plan: Plan, registered: bool) -> dict[str, Any]:
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
                "service": "batch",
                "operation": "RegisterJobDefinition",
                "request": plan.request.definition,
            }
        )
    calls.append({"service": "batch", "operation": "SubmitJob", "request": plan.request.submit})
    return {"requests": calls}


def _passed_variables(plan: Plan) -> list[str]:
    # names, never values
    variables = plan.request.submit["containerOverrides"]["environment"]
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
