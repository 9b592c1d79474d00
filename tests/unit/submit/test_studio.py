"""SageMaker Studio: what is detected there, of API answers in the shapes of botocore's models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber

from miniwdl_cloud.aws.batch import BatchClient
from miniwdl_cloud.aws.session import AwsSession
from miniwdl_cloud.errors import AccessDenied, ConfigurationError, UsageError
from miniwdl_cloud.settings import FS, FSAP, WORKFLOW_QUEUE, Setting, Settings, mapping_source
from miniwdl_cloud.submit import studio
from miniwdl_cloud.submit.options import Options

DOMAIN, USER, UID = "d-abcdefghijkl", "data-scientist", "200005"
EFS = "fs-0123456789abcdef0"
ACCOUNT = "123456789012"
METADATA = {
    "AppType": "JupyterServer",
    "DomainId": DOMAIN,
    "UserProfileName": USER,
    "ResourceArn": f"arn:aws:sagemaker:eu-west-1:{ACCOUNT}:app/{DOMAIN}/{USER}/jupyterserver/a",
    "ResourceName": "default",
    "AppImageVersion": "",
}


def point(number: int, root: str, uid: str | None = None, state: str = "available") -> Any:
    """An access point as EFS describes it."""
    arn = f"arn:aws:elasticfilesystem:eu-west-1:{ACCOUNT}:access-point/fsap-{number:017x}"
    found: dict[str, Any] = {
        "AccessPointId": f"fsap-{number:017x}",
        "AccessPointArn": arn,
        "FileSystemId": EFS,
        "LifeCycleState": state,
        "OwnerId": ACCOUNT,
        "RootDirectory": {"Path": root},
    }
    if uid:
        found["PosixUser"] = {"Uid": int(uid), "Gid": 1001}
    return found


MINE = point(3, f"/{UID}", UID)
POINTS = [
    point(1, "/"),
    point(2, "/200004", "200004"),
    point(4, f"/{UID}/deeper", UID),
    point(5, f"/{UID}", "200004"),
    point(6, f"/{UID}", UID, "deleting"),
    point(7, f"/{UID}"),
    MINE,
]


def queue(name: str, **tags: str) -> Any:
    """A job queue as Batch describes it."""
    return {
        "jobQueueName": name,
        "jobQueueArn": f"arn:aws:batch:eu-west-1:{ACCOUNT}:job-queue/{name}",
        "state": "ENABLED",
        "status": "VALID",
        "priority": 1,
        "computeEnvironmentOrder": [],
        "tags": tags,
    }


WORKFLOW = queue("studio-workflow", DefaultTaskQueue="studio-task", DefaultFsid=EFS)
QUEUES = [
    queue("studio-task", DefaultFsid=EFS),
    queue("elsewhere", DefaultTaskQueue="x", DefaultFsid="fs-0fedcba9876543210"),
    queue("untagged"),
    WORKFLOW,
]


class Scene:
    """Studio as a test has it: its file, and what AWS answers in turn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        self.path = path
        path.write_text(json.dumps(METADATA))
        self.session = AwsSession("eu-west-1")
        self.batch_client = BatchClient(self.session)
        self.sagemaker, self.efs, self.batch = (
            Stubber(self.session.client(name)) for name in ("sagemaker", "efs", "batch")
        )
        for stubber in (self.sagemaker, self.efs, self.batch):
            stubber.activate()

    def domain(self, points: list[Any] | None = None, **members: str) -> None:
        """The domain and its file system are found."""
        answer = {"DomainId": DOMAIN, "HomeEfsFileSystemId": EFS, **members}
        self.sagemaker.add_response("describe_domain", answer, {"DomainId": DOMAIN})
        answer = {"AccessPoints": POINTS if points is None else points}
        self.efs.add_response("describe_access_points", answer, {"FileSystemId": EFS})

    def queues(self, *found: Any, **asked: Any) -> None:
        """Batch knows these queues."""
        self.batch.add_response("describe_job_queues", {"jobQueues": list(found)}, asked)

    def user(self, **members: str) -> None:
        """The user profile is found."""
        asked = {"DomainId": DOMAIN, "UserProfileName": USER}
        self.sagemaker.add_response("describe_user_profile", {**asked, **members}, asked)

    def detect(self, **given: str) -> tuple[Options, str | None]:
        """What the command makes of it; all answers have to be used."""
        settings: dict[str, Setting] = {"queue": WORKFLOW_QUEUE, "fsap": FSAP, "fs": FS}
        values = {(settings[k].section, settings[k].key): v for k, v in given.items()}
        ranked = Settings(mapping_source(values))
        options = Options(
            ranked, (), 1, 4096, None, True, None, True, "fsap" in given, *(False,) * 5
        )
        found = studio.detect(options, self.session, self.batch_client, self.path)
        for stubber in (self.sagemaker, self.efs, self.batch):
            stubber.assert_no_pending_responses()
        return found


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Scene:
    """Studio as a test has it."""
    return Scene(monkeypatch, tmp_path / "resource-metadata.json")


def test_all_is_detected(scene: Scene) -> None:
    """The queue by its tags, the access point by the user's id; tags rank below it."""
    scene.domain()
    scene.queues(*QUEUES)
    scene.user(HomeEfsFileSystemUid=UID)
    options, said = scene.detect()
    assert options.settings.get(WORKFLOW_QUEUE) == "studio-workflow"
    tagged = options.settings.with_tags({"DefaultFsap": "fsap-of-the-queue"})
    assert tagged.get(FSAP) == MINE["AccessPointId"]
    assert options.access_point_given
    assert said == (
        f"SageMaker Studio: workflow queue studio-workflow, home directory of user {USER}"
        f" (uid {UID}) by access point {MINE['AccessPointId']}"
    )


def test_what_is_given_stands(scene: Scene) -> None:
    """With both given nothing is asked; with one, the other is found."""
    assert scene.detect(queue="q", fs="0")[1] is None
    scene.domain()
    scene.queues(*QUEUES)
    options, said = scene.detect(fsap="fsap-mine")
    assert (options.settings.get(FSAP), options.access_point_given) == ("fsap-mine", True)
    assert said == "SageMaker Studio: workflow queue studio-workflow"
    scene.queues(WORKFLOW, jobQueues=["studio-workflow"])
    scene.domain()
    scene.user(HomeEfsFileSystemUid=UID)
    options, _ = scene.detect(queue="studio-workflow")
    assert options.settings.get(FSAP) == MINE["AccessPointId"]


def test_a_queue_of_another_filesystem_keeps_it(scene: Scene) -> None:
    """Nothing is filled in that does not go with the queue that is named."""
    for other in (QUEUES[1], queue("ap", DefaultTaskQueue="x", DefaultFsap="fsap-other")):
        scene.queues(other, jobQueues=[other["jobQueueName"]])
        scene.domain()
        options, said = scene.detect(queue=other["jobQueueName"])
        assert (options.settings.get(FSAP), said) == (None, None)


def test_outside_of_studio(scene: Scene) -> None:
    """Without the file, or with that of a notebook instance, nothing is asked."""
    scene.path.write_text('{"ResourceArn": "arn:…:notebook-instance/x", "ResourceName": "x"}')
    assert scene.detect()[1] is None
    scene.path.unlink()
    assert scene.detect()[1] is None


@pytest.mark.parametrize(("sharing", "uid"), [("Private", UID), ("Shared", "200004")])
def test_spaces(scene: Scene, sharing: str, uid: str) -> None:
    """A private space works as its owner, a shared one as itself."""
    content = {k: v for k, v in METADATA.items() if k != "UserProfileName"}
    scene.path.write_text(json.dumps({**content, "SpaceName": "lab"}))
    scene.domain()
    scene.queues(*QUEUES)
    scene.sagemaker.add_response(
        "describe_space",
        {
            "DomainId": DOMAIN,
            "SpaceName": "lab",
            "HomeEfsFileSystemUid": "200004",
            "OwnershipSettings": {"OwnerUserProfileName": USER},
            "SpaceSharingSettings": {"SharingType": sharing},
        },
        {"DomainId": DOMAIN, "SpaceName": "lab"},
    )
    if sharing == "Private":
        scene.user(HomeEfsFileSystemUid=UID)
    assert f"home directory of space lab (uid {uid})" in (scene.detect()[1] or "")


def test_what_is_missing_is_named(scene: Scene) -> None:
    """Each missing piece has its own sentence, which says what to do."""

    def message(kind: type[Exception]) -> str:
        with pytest.raises(kind) as caught:
            scene.detect()
        return str(caught.value)

    scene.sagemaker.add_client_error("describe_domain", "ResourceNotFound", http_status_code=400)
    assert "AWS_DEFAULT_REGION" in message(ConfigurationError)
    scene.domain()
    scene.queues(*QUEUES[:3])
    assert "No job queue has tags DefaultTaskQueue and DefaultFsid=" in message(UsageError)
    scene.domain()
    second = queue("by-point", DefaultTaskQueue="x", DefaultFsap=POINTS[0]["AccessPointId"])
    scene.queues(*QUEUES, second)
    assert "by-point, studio-workflow; name one with --workflow-queue" in message(UsageError)
    scene.domain()
    scene.queues(*QUEUES)
    scene.user()
    assert "has no user id on its file system" in message(ConfigurationError)
    scene.domain(POINTS[:5])
    scene.queues(*QUEUES)
    scene.user(HomeEfsFileSystemUid=UID)
    assert f"root directory /{UID} and the POSIX user {UID}" in message(ConfigurationError)
    for content in ("{", json.dumps({"DomainId": DOMAIN})):
        scene.path.write_text(content)
        assert "metadata of SageMaker Studio" in message(ConfigurationError)


def test_credentials_that_may_not_look(scene: Scene) -> None:
    """The permission is named; a queue whose tags name a filesystem does without."""
    denied = {"service_error_code": "AccessDeniedException", "http_status_code": 400}
    scene.sagemaker.add_client_error("describe_domain", **denied)
    with pytest.raises(AccessDenied) as caught:
        scene.detect()
    assert "DescribeDomain" in caught.value.message
    assert caught.value.message.endswith("or name --workflow-queue and --fsap.")
    scene.queues(WORKFLOW, jobQueues=["studio-workflow"])
    scene.sagemaker.add_client_error("describe_domain", **denied)
    assert scene.detect(queue="studio-workflow")[1] is None
