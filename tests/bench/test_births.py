"""Processes are counted where the kernel tells of them."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bench.births import Births, NoEvents

CHILDREN = "import subprocess, threading; threading.Thread(target=print).start(); subprocess.run(['/bin/true'])"


@pytest.fixture(autouse=True)
def events() -> Iterator[None]:
    try:
        with Births(()):
            pass
    except NoEvents as error:
        pytest.skip(f"NOT RUN: {error}")
    yield


def test_children_and_theirs_are_counted_and_threads_are_not() -> None:
    with Births([os.getpid()]) as births:
        subprocess.run([sys.executable, "-I", "-S", "-c", CHILDREN], check=True)
    assert len(births) == 2, births.told()
    assert "true" in births.told()


def test_what_others_start_is_not_counted() -> None:
    with Births([2**22 + 1]) as births:
        subprocess.run(["/bin/true"], check=True)
    assert len(births) == 0
    assert births.told() == ""
