"""The world of the tests with real clients tells what its server did when one fails; no client runs here."""

from pathlib import Path

import pytest

from tests.clients.harness import VARIABLE
from tests.clients.product import Product


async def test_a_failure_carries_the_last_lines_of_every_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("claude", "codex"):
        (tmp_path / name).touch()
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(AssertionError, match="it broke") as failed:
        async with Product() as product:
            (product.root.logs / "lifecycle.log").write_text("".join(f"ev=look n={number}\n" for number in range(100)))
            (product.root.logs / "delivery.log").mkdir()
            (product.base / "serve.log").write_bytes(b"Traceback \xff\n")
            raise AssertionError("it broke")
    (note,) = failed.value.__notes__
    assert "--- lifecycle.log, the last 60 of 100 lines:\nev=look n=40\n" in note and "n=99\n" in note
    assert "--- delivery.log: Is a directory\n--- exits.log: No such file or directory\n" in note
    assert note.endswith("--- serve.log, the last 1 of 1 lines:\nTraceback \ufffd")
    assert not product.base.exists()
