"""`miniwdl-cloud deploy`: the AWS resources that workflows run on, by CloudFormation."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..infra import parameters

if TYPE_CHECKING:
    from ..aws.cloudformation import Change
    from ..aws.session import AwsSession
    from ..infra.stack import Deployments, Status

_CREATE = """\
Make a deployment: a network, a shared filesystem, a bucket, roles, compute environments and job
queues, as one CloudFormation stack. What is not given has the template's default. An idle
deployment costs what is stored in it.
"""
_UPDATE = """\
Bring a deployment to its template as this version of miniwdl-cloud has it. Parameters that are not
given keep their values.
"""
_DESTROY = """\
Take a deployment down. Refuses while jobs run in its queues. The bucket stays, and so does the EFS
file system, unless --delete-filesystem is given.
"""
_MIRROR = """\
Copy a container image, by default that of workflow jobs, to Amazon ECR with the docker command of
this machine, and print the name of the copy: for `miniwdl-aws-submit --image`, or
MINIWDL__AWS__WORKFLOW_IMAGE. Private subnets need their images there.
"""
_POLL_S = 2.0


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the list of commands."""
    parser = subparsers.add_parser(
        "deploy",
        help="make, look at, change and take down a deployment on AWS",
        description="A deployment is a CloudFormation stack that workflows run on.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = _action(actions, "create", "make a deployment", _CREATE)
    update = _action(actions, "update", "change a deployment", _UPDATE)
    for each in (create, update):
        each.add_argument(
            "--dry-run", action="store_true", help="show what would be done, and do nothing"
        )
        each.add_argument(
            "--tag",
            metavar="KEY=VALUE",
            action="append",
            default=[],
            help="tag of everything; may be repeated",
        )
        group = each.add_argument_group("parameters of the template")
        for item in parameters.ALL:
            group.add_argument(
                f"--{item.option}", dest=item.dest, metavar=item.metavar, help=item.help
            )
    create.add_argument(
        "--filesystem",
        choices=("efs", "fsx"),
        default="efs",
        help="shared filesystem: EFS, or FSx for Lustre [efs]",
    )
    create.add_argument(
        "--vpc",
        metavar="new|default|VPC",
        help="a VPC of its own, the account's default VPC, or the one of this id, whose subnets and"
        " default security group are found and checked [new]",
    )
    create.add_argument(
        "--private",
        action="store_true",
        help="in a VPC of its own: private subnets, from which AWS alone is reached, by endpoints",
    )
    create.add_argument(
        "--architecture",
        choices=tuple(parameters.INSTANCE_TYPES),
        help="of task instances, if --task-instance-types does not say [x86_64]",
    )
    create.add_argument(
        "--gpu",
        action="store_true",
        help="a compute environment for jobs that ask for a GPU, of current types if"
        " --gpu-instance-types does not say",
    )
    create.add_argument(
        "--self-test",
        action=argparse.BooleanOptionalAction,
        help="run miniwdl's self-test on it, and exit with its code [asked for on a terminal]",
    )
    create.add_argument(
        "--print", action="store_true", help="print the CloudFormation template, and do nothing"
    )
    for name, text in (
        ("status", "show the stack, its parameters, and the jobs in its queues"),
        ("outputs", "show names and ids of what was made"),
    ):
        looking = _action(actions, name, text, f"{text[:1].upper()}{text[1:]}.")
        looking.add_argument("--json", action="store_true", help="print JSON")
    destroy = _action(actions, "destroy", "take a deployment down", _DESTROY)
    destroy.add_argument(
        "--delete-filesystem", action="store_true", help="delete the shared filesystem too"
    )
    destroy.add_argument("--yes", action="store_true", help="do not ask")
    image = actions.add_parser(
        "mirror-image",
        help="copy the image of workflow jobs to the account's ECR",
        description=_MIRROR,
        allow_abbrev=False,
    )
    image.add_argument("--region", metavar="REGION", help="AWS Region")
    image.add_argument(
        "--image", metavar="IMAGE", help="image to copy [the public one of this version]"
    )
    image.add_argument(
        "--repository",
        metavar="NAME",
        default="miniwdl-cloud",
        help="repository in ECR, made if there is none [miniwdl-cloud]",
    )
    image.add_argument(
        "--platform", default="linux/amd64", help="which of the image's platforms [linux/amd64]"
    )


def _action(
    actions: argparse._SubParsersAction[Any], name: str, help: str, description: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=help, description=description, allow_abbrev=False
    )
    parser.add_argument("name", metavar="NAME", help="of the stack; queues are named after it")
    parser.add_argument("--region", metavar="REGION", help="AWS Region")
    return parser


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Run the command; returns its exit code.

    Raises
    ------
    MiniwdlCloudError
        An argument is wrong, or AWS could not do it.
    """
    if rest:
        raise UsageError(f"miniwdl-cloud deploy {args.action} takes no {rest[0]}; see its --help.")
    work = {
        "create": _create,
        "update": _update,
        "status": _status,
        "outputs": _outputs,
        "destroy": _destroy,
        "mirror-image": _mirror_image,
    }[args.action]
    return work(args)


def _create(args: argparse.Namespace) -> int:
    given = parameters.given(vars(args))
    template = _template(args, given)
    tags = _tags(args.tag)
    if args.print:
        from ..infra.deploy import template_text

        print(template_text(template), end="")
        return 0
    given = {**parameters.instance_types(args.architecture, args.gpu), **given}
    if args.vpc not in (None, "new"):
        from ..infra import existing_vpc

        given.update(existing_vpc.parameters(_session(args), args.vpc, args.filesystem, given))
    if args.dry_run:
        changes = _deployments(args).preview_creation(args.name, template, given, tags)
        _show_changes(changes)
        return 0
    with _progress(args.name) as on_event:
        outputs = _deployments(args, on_event).create(args.name, template, given, tags)
    _show_table(outputs)
    return _self_test(args, outputs["WorkflowQueue"])


def _template(args: argparse.Namespace, given: Mapping[str, str]) -> str:
    """The shipped template for these choices."""
    existing = args.vpc not in (None, "new") or any(
        name in given for name in parameters.OF_EXISTING_VPC
    )
    if args.private and existing:
        raise UsageError("--private is for a VPC of its own; leave it or the existing network out.")
    suffix = "-existing-vpc" if existing else "-private" if args.private else ""
    return f"batch-{args.filesystem}{suffix}"


def _self_test(args: argparse.Namespace, queue: str) -> int:
    """Run the self-test, if that is wanted; its exit code."""
    from .. import settings as s

    options = ["--self-test", "--follow", "--workflow-queue", queue]
    options += ["--no-public-ip"] if args.private else []
    wanted = args.self_test
    if wanted is None and sys.stdin.isatty() and sys.stderr.isatty():
        _say("Run the self-test now, one workflow of a few tasks? [y/N]")
        wanted = sys.stdin.readline().strip().lower() in ("y", "yes")
    if not wanted:
        _say(f"To try it: miniwdl-aws-submit {' '.join(options)}")
        return 0
    from ..infra.submitting import submit

    environ = dict(s.environment())
    if args.region:
        environ[s.REGION.env] = args.region
    return submit(options, environ)


def _update(args: argparse.Namespace) -> int:
    given = parameters.given(vars(args))
    tags = _tags(args.tag)
    if args.dry_run:
        _show_changes(_deployments(args).preview_update(args.name, given, tags))
        return 0
    with _progress(args.name) as on_event:
        outputs = _deployments(args, on_event).update(args.name, given, tags)
    _show_table(outputs)
    return 0


def _status(args: argparse.Namespace) -> int:
    status = _deployments(args).status(args.name)
    if args.json:
        from dataclasses import asdict

        print(json.dumps(asdict(status), indent=2))
        return 0
    _show_table({**_facts(status), **status.parameters})
    if status.failure:
        _say(status.failure)
    return 0


def _facts(status: Status) -> dict[str, str]:
    facts = {"stack": status.name, "status": status.status, "Region": status.region}
    for queue, counts in status.jobs.items():
        jobs = ", ".join(f"{count} {state}" for state, count in counts.items())
        facts[f"queue {queue}"] = jobs or "no jobs"
    return facts


def _outputs(args: argparse.Namespace) -> int:
    outputs = _deployments(args).outputs(args.name)
    if args.json:
        print(json.dumps(outputs, indent=2))
    else:
        _show_table(outputs)
    return 0


def _destroy(args: argparse.Namespace) -> int:
    deployments = _deployments(args)
    outputs = deployments.check_destroyable(args.name, args.delete_filesystem)
    file_system = outputs.get("FileSystemId", "the shared filesystem")
    goes = f", with its file system {file_system} and all that is on it" * args.delete_filesystem
    if not args.yes:
        if not sys.stdin.isatty():
            raise UsageError(f"This would take down '{args.name}'{goes}; confirm it with --yes.")
        _say(f"This takes down '{args.name}'{goes}. Type its name to go on:")
        if sys.stdin.readline().strip() != args.name:
            raise UsageError("That is not its name; nothing was done.")
    with _progress(args.name) as on_event:
        _deployments(args, on_event).destroy(args.name, args.delete_filesystem)
    kept = [f"the bucket {outputs['BucketName']}"] if "BucketName" in outputs else []
    if "FileSystemId" in outputs and not args.delete_filesystem:
        kept.append(f"the file system {outputs['FileSystemId']}")
    _say(f"'{args.name}' is gone." + (f" Kept: {' and '.join(kept)}." if kept else ""))
    return 0


def _mirror_image(args: argparse.Namespace) -> int:
    from ..aws.ecr import Ecr
    from ..infra.mirror import mirror
    from ..submit.options import DEFAULT_IMAGE

    image = args.image or DEFAULT_IMAGE
    print(mirror(Ecr(_session(args)), image, args.repository, args.platform, _say))
    return 0


def _session(args: argparse.Namespace) -> AwsSession:
    from .. import settings as s
    from ..aws.session import AwsSession
    from ..settings import Settings, cfg_source, env_source

    settings = Settings(env_source(), cfg_source())
    return AwsSession(args.region or settings.get(s.REGION), settings.get(s.BOTO3_RETRIES))


def _deployments(
    args: argparse.Namespace, on_event: Callable[[Mapping[str, Any]], None] | None = None
) -> Deployments:
    from ..infra.stack import Deployments

    return Deployments(_session(args), poll_s=_POLL_S, on_event=on_event)


def _tags(texts: list[str]) -> dict[str, str]:
    tags = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"--tag {text} should be KEY=VALUE.")
        tags[key] = value
    return tags


@contextmanager
def _progress(name: str) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Show a stack's events on standard error: one line each, or on a terminal the last of them and
    what failed."""
    if not sys.stderr.isatty():
        with _told_on_interrupt(name):
            yield lambda event: _say(_line(event))
        return
    from rich.console import Console

    console = Console(stderr=True)
    done: set[str] = set()
    with _told_on_interrupt(name), console.status(f"'{name}' …") as shown:

        def show(event: Mapping[str, Any]) -> None:
            if event["ResourceStatus"].endswith("_FAILED"):
                console.print(_line(event), style="red", markup=False, highlight=False)
            elif event["ResourceStatus"].endswith("_COMPLETE"):
                done.add(event["LogicalResourceId"])
            shown.update(f"{len(done)} resources done; {event['LogicalResourceId']}")

        yield show


@contextmanager
def _told_on_interrupt(name: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        _say(
            "CloudFormation goes on without being watched; look at it with `miniwdl-cloud deploy"
            f" status {name}`."
        )
        raise


def _line(event: Mapping[str, Any]) -> str:
    reason = event.get("ResourceStatusReason")
    told = f"{event['ResourceStatus']:<20} {event['ResourceType']} {event['LogicalResourceId']}"
    return f"{told}: {reason}" if reason and "FAILED" in event["ResourceStatus"] else told


def _show_changes(changes: list[Change]) -> None:
    for change in changes:
        action = {"Add": "add", "Modify": "modify", "Remove": "remove"}.get(
            change.action, change.action
        )
        if change.action == "Modify" and change.replacement != "False":
            action = "replace" if change.replacement == "True" else "may replace"
        print(f"{action:<12} {change.resource_type} {change.logical_id}")
    _say(f"{len(changes)} resources would change." if changes else "Nothing would change.")


def _show_table(rows: Mapping[str, str]) -> None:
    if not sys.stdout.isatty():
        for key, value in rows.items():
            print(f"{key}\t{value}")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None)
    for key, value in rows.items():
        table.add_row(Text(key), Text(value))
    Console(width=10_000).print(table, highlight=False)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
