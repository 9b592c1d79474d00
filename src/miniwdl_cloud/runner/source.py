"""Arguments of `miniwdl run` that name something to be fetched first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import NotFound
from ..settings import Settings
from ..submit.shipping import WDL_SENTINEL, unpack_shipped_wdl

if TYPE_CHECKING:
    from ..aws.s3 import S3
    from ..aws.session import AwsSession


def option_value(arguments: Sequence[str], short: str | None, long: str | None) -> str | None:
    """The value of an option among the arguments of `miniwdl run`; the last, if there are more.

    Parameters
    ----------
    short, long
        Its spellings: ``-o FILE``, ``-oFILE``, ``--cfg FILE``, ``--cfg=FILE``.
    """
    found: str | None = None
    for number, argument in enumerate(arguments):
        following = arguments[number + 1] if number + 1 < len(arguments) else None
        if argument == "--":
            break
        if argument in (short, long):
            found = following
        elif long and argument.startswith(long + "="):
            found = argument[len(long) + 1 :]
        elif short and argument.startswith(short) and not argument.startswith("--"):
            found = argument[len(short) :]
    return found


def fetch_arguments(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    directory: Path,
    session: Callable[[], AwsSession],
    settings: Settings,
) -> list[str]:
    """Put local paths in place of shipped WDL source code, and of ``s3://`` locations of the WDL
    (a document without imports of its own neighbours, or a zip) and of the inputs JSON.

    ``name=s3://…`` inputs are left to miniwdl's downloads.

    Parameters
    ----------
    arguments
        Of `miniwdl run`.
    environ
        The process environment, which may hold the shipped source code.
    directory
        Where the files go.
    session
        Makes the AWS session; called only if something is to be fetched.
    settings
        How S3 is to be asked.

    Raises
    ------
    MiniwdlCloudError
        It cannot be fetched.
    """
    fetched: list[str] = []
    s3: S3 | None = None

    def fetch(uri_text: str, number: int) -> str:
        nonlocal s3
        from ..aws.s3 import S3, S3Options, parse_s3_uri

        uri = parse_s3_uri(uri_text)
        s3 = s3 or S3(session(), S3Options.of(settings))
        path = directory / str(number) / (uri.name or "source")
        try:
            s3.download_file(uri, path)
        except NotFound as exn:
            raise NotFound(f"There is no {uri_text}; correct its name.", exn.more_info) from exn
        return str(path)

    for number, argument in enumerate(arguments):
        before = arguments[number - 1] if number else ""
        long_input, separator, location = argument.partition("=")
        if argument == WDL_SENTINEL:
            from ..aws.batch import BatchClient
            from ..aws.ecs import EcsClient
            from ..aws.s3 import S3, S3Options

            made, options = session(), S3Options.of(settings)
            path = unpack_shipped_wdl(
                environ,
                BatchClient(made),
                S3(made, options),
                directory,
                lambda: EcsClient(session()),
            )
            fetched.append(str(path))
        # The value of `name= s3://…`, which miniwdl allows, is an input.
        elif argument.startswith("s3://") and not before.endswith("="):
            fetched.append(fetch(argument, number))
        elif long_input == "--input" and separator and location.startswith("s3://"):
            fetched.append("--input=" + fetch(location, number))
        elif argument.startswith("-is3://"):
            fetched.append("-i" + fetch(argument[2:], number))
        else:
            fetched.append(argument)
    return fetched
