"""Settings: types, precedence, where they come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from miniwdl_cloud import settings
from miniwdl_cloud.errors import UsageError


def test_precedence(tmp_path: Path) -> None:
    """Command line, then environment, then .cfg file, then queue tag, then default."""
    cfg = tmp_path / "my.cfg"
    cfg.write_text("[aws]\ntask_queue = from-cfg\n")
    tags = {"DefaultTaskQueue": "from-tag"}
    env = {"MINIWDL__AWS__TASK_QUEUE": "from-env"}
    cli = {("aws", "task_queue"): "from-cli"}

    def value(*sources: settings.Source) -> object:
        return settings.Settings(*sources).with_tags(tags).get(settings.TASK_QUEUE)

    ranked = (
        settings.mapping_source(cli),
        settings.env_source(env),
        settings.cfg_source([cfg]),
    )
    assert value(*ranked) == "from-cli"
    assert value(*ranked[1:]) == "from-env"
    assert value(*ranked[2:]) == "from-cfg"
    assert value() == "from-tag"
    assert settings.Settings().get(settings.TASK_QUEUE) is None
    assert settings.Settings().get(settings.MEMORY_DELTA) == -33


def test_an_empty_value_says_nothing() -> None:
    """An empty variable does not hide what a lower source says."""
    found = settings.Settings(
        settings.env_source({"MINIWDL__AWS__FSAP": ""}), settings.tag_source({"DefaultFsap": "f"})
    )
    assert found.get(settings.FSAP) == "f"


def test_older_spelling_of_delete_after() -> None:
    """Scripts that use the older spelling go on working."""
    env = {"MINIWDL__AWS__S3_UPLOAD_DELETE_AFTER": "always"}
    assert settings.Settings(settings.env_source(env)).get(settings.DELETE_AFTER) == "always"


@pytest.mark.parametrize(
    ("setting", "text", "value"),
    [
        (settings.JOB_TIMEOUT, "60", 60),
        (settings.DESCRIBE_PERIOD, "0.5", 0.5),
        (settings.CONTAINER_SYNC, "True", True),
        (settings.CONTAINER_SYNC, "0", False),
        (settings.JOB_TAGS, '{"a": "b"}', {"a": "b"}),
    ],
)
def test_types(setting: settings.Setting, text: str, value: object) -> None:
    """Each kind of setting is parsed into its type."""
    assert settings.parse(setting, text) == value


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        (settings.JOB_TIMEOUT, "soon"),
        (settings.DESCRIBE_PERIOD, "1s"),
        (settings.CONTAINER_SYNC, "perhaps"),
        (settings.JOB_TAGS, "[1]"),
        (settings.JOB_TAGS, "{"),
    ],
)
def test_wrong_types_are_named(setting: settings.Setting, text: str) -> None:
    """A value of the wrong type names the setting and its variable, never the value."""
    with pytest.raises(UsageError) as caught:
        settings.parse(setting, text)
    assert setting.env in caught.value.message
    assert text not in caught.value.message
    assert caught.value.exit_code == 64


def test_cfg_files_follow_miniwdl(tmp_path: Path) -> None:
    """MINIWDL_CFG wins; else the user's configuration directory, then the system's."""
    assert settings.cfg_files({"MINIWDL_CFG": "/a:/b"}) == [Path("/a"), Path("/b")]
    env = {"XDG_CONFIG_HOME": "/home/x", "XDG_CONFIG_DIRS": "/one:/two"}
    assert settings.cfg_files(env) == [
        Path("/home/x/miniwdl.cfg"),
        Path("/two/miniwdl.cfg"),
        Path("/one/miniwdl.cfg"),
    ]


def test_a_broken_cfg_file_is_named(tmp_path: Path) -> None:
    """A .cfg file that cannot be parsed is a clear error."""
    cfg = tmp_path / "broken.cfg"
    cfg.write_text("no section\n")
    with pytest.raises(UsageError, match=r"broken\.cfg"):
        settings.cfg_source([cfg])
