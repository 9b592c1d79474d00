"""What the tasks of a process share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from miniwdl_cloud.jobs import registry


class Fake:
    """Stands for a dispatcher."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def _empty() -> Iterator[None]:
    registry.close_all()
    yield
    registry.close_all()


def test_equal_settings_share_a_dispatcher() -> None:
    """Every task of a process finds the same one; other settings have another."""
    one = registry.shared(("us-east-1", 1), Fake)
    assert registry.shared(("us-east-1", 1), Fake) is one
    assert registry.shared(("us-east-1", 2), Fake) is not one


def test_a_closed_dispatcher_is_replaced() -> None:
    """After one was closed, or died, the next task gets a new one."""
    one = registry.shared("key", Fake)
    one.close()
    assert registry.shared("key", Fake) is not one


def test_all_can_be_closed() -> None:
    """close_all closes each."""
    one = registry.shared("key", Fake)
    registry.close_all()
    assert one.closed
