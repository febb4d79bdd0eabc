"""A kitchen for each test."""

import pytest

from tests.lifecycle.prompt.kitchen import Kitchen
from transport.paths import Root


@pytest.fixture
def kitchen(root: Root) -> Kitchen:
    kitchen = Kitchen(root)
    kitchen.peer("alice", description='Says "hello" --- # to: all')
    return kitchen
