"""Amazon SNS: publishing to a topic."""

from __future__ import annotations

import re

from .error_mapping import map_errors
from .session import AwsSession

TOPIC_ARN = re.compile(r"arn:aws[a-z-]*:sns:([a-z0-9-]+):\d{12}:[A-Za-z0-9_-]{1,256}")
"""A topic that e-mail can subscribe to: FIFO topics want more of a publisher (SNS developer guide,
"Message delivery for FIFO topics")."""
SUBJECT_MAX = 100
"""Characters of a subject, which must be ASCII and of one line (API reference, Publish)."""


def publish(session: AwsSession, topic_arn: str, subject: str, message: str) -> None:
    """Publish a message.

    Parameters
    ----------
    session
        Of the account; the Region is the topic's own.
    subject
        Of an e-mail; shortened, and cleaned of what SNS refuses.

    Raises
    ------
    MiniwdlCloudError
        The topic does not exist, or these credentials may not publish to it.
    """
    region = topic_arn.split(":")[3]
    if region != session.region:
        session = AwsSession(region)
    plain = " ".join(subject.encode("ascii", "replace").decode().split())[:SUBJECT_MAX]
    with map_errors(f"publishing to the topic {topic_arn}"):
        session.client("sns").publish(TopicArn=topic_arn, Subject=plain, Message=message)
