"""One transaction per call: durable when it answers, nothing when it fails, never waiting for ever."""

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.transport.spool.support import BOB, LIMITS, NOW, check_counts, child, fill, letter, rest, said
from transport.spool.faults import SpoolBusy, SpoolFailed, SpoolFull
from transport.spool.store import SpoolStore

NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
SMALL_DISK = 'mount -t tmpfs -o size=1m,mode=700 none "$0" && exec "$@"'


def can(*argv: str) -> bool:
    """Return whether this machine allows what a test needs."""
    return shutil.which(argv[0]) is not None and subprocess.run(argv, capture_output=True).returncode == 0


CAN_MOUNT = sys.platform == "linux" and can(*NAMESPACE, "mount -t tmpfs none /mnt")
CAN_TRACE = sys.platform == "linux" and can("strace", "-qq", "-o", os.devnull, "true")


def stored(path: Path) -> int:
    with SpoolStore(path) as store:
        check_counts(store)
        return store.depth(BOB)


@pytest.mark.skipif(not CAN_MOUNT, reason="needs a user namespace that may mount")
def test_full_disk_is_told_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    prefix = (*NAMESPACE, SMALL_DISK, str(disk))
    with child("fill_disk", disk / "spool.db", prefix=prefix) as process:
        assert said(process).startswith("m_")
        code, text = said(process)
        assert code == "spool-full"
        assert "no space is left for" in text
        assert "free space on that disk and repeat" in text
        accepted, depth = said(process)
        assert depth == accepted + 1
        assert said(process) == [depth + 1, "ok"]


def test_full_database_refuses_and_recovers(store: SpoolStore) -> None:
    fill(store, 3)
    pages = store.read(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
    store.read(lambda db: db.execute(f"PRAGMA max_page_count = {pages}"))
    with pytest.raises(SpoolFull) as error:
        fill(store, 100)
    assert error.value.code == "spool-full"
    before = store.depth(BOB)
    check_counts(store)
    store.read(lambda db: db.execute("PRAGMA max_page_count = 1000000"))
    fill(store, 5)
    assert store.depth(BOB) == before + 5


@pytest.mark.skipif(not CAN_TRACE, reason="needs strace")
def test_answer_comes_after_the_fsync(path: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    prefix = ("strace", "-f", "-qq", "-e", "trace=fsync,fdatasync,write", "-o", str(trace))
    with child("report", path, prefix=prefix) as process:
        assert said(process) == "ready"
        for _ in range(5):
            print(file=process.stdin, flush=True)
            assert said(process) == "ok"
        assert process.stdin is not None
        process.stdin.close()
        process.wait(10)
    calls = [
        line.split(maxsplit=1)[1].split("(")[0]
        for line in trace.read_text().splitlines()
        if "sync(" in line or "ok" in line
    ]
    answers = [place for place, call in enumerate(calls) if call == "write"]
    assert len(answers) == 5
    assert all(calls[place - 1] in ("fsync", "fdatasync") for place in answers)


@pytest.mark.skipif(not CAN_TRACE, reason="needs strace")
@pytest.mark.parametrize(("failing", "code"), [("{}", "spool-failed"), ("{}+", "spool-uncertain")])
def test_commit_whose_fsync_failed_does_not_come_back_after_a_crash(
    path: Path, tmp_path: Path, failing: str, code: str
) -> None:
    """Recovery would find the frames of such a commit whole, were they not overwritten."""
    call, count = _sync_before_second_answer(path, tmp_path)
    failures = f"inject={call}:error=EIO:when={failing.format(count)}"
    prefix = ("strace", "-f", "-qq", "-e", f"trace={call}", "-e", failures, "-o", str(tmp_path / "trace"))
    path = tmp_path / "failing" / "spool.db"
    path.parent.mkdir()
    with child("report", path, prefix=prefix) as process:
        answers = [said(process)]
        for _ in range(2):
            print(file=process.stdin, flush=True)
            answers.append(said(process))
        os.kill(_traced(process.pid), signal.SIGKILL)
        process.wait(10)
    assert answers == ["ready", "ok", code]
    if code == "spool-failed":
        assert stored(path) == 1


def test_stopped_writer_does_not_hang_the_others(path: Path) -> None:
    SpoolStore(path).close()
    with child("hold", path.with_suffix(".lock")) as holder, SpoolStore(path, busy_seconds=0.2) as store:
        fill(store, 0)
        assert said(holder) == "held"
        holder.send_signal(signal.SIGSTOP)
        with pytest.raises(SpoolBusy, match="nothing was stored") as error:
            store.enqueue(letter(), **LIMITS)
        assert error.value.code == "spool-busy"
        assert store.depth(BOB) == 0
        holder.send_signal(signal.SIGCONT)
        print(file=holder.stdin, flush=True)
        assert said(holder) == "left"
        assert store.enqueue(letter(), **LIMITS).depth == 1


def test_foreign_lock_on_the_database_is_told(path: Path) -> None:
    with SpoolStore(path) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(SpoolBusy, match="locked by another program"):
            store.enqueue(letter(), **LIMITS)
        other.execute("ROLLBACK")
        other.close()
        assert store.enqueue(letter(), **LIMITS).depth == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_directory_that_cannot_be_written_is_named(path: Path) -> None:
    SpoolStore(path).close()
    path.chmod(0o400)
    with pytest.raises(SpoolFailed, match=r"spool\.db"):
        SpoolStore(path)


def test_file_that_is_a_directory_is_named(path: Path) -> None:
    path.mkdir()
    with pytest.raises(SpoolFailed, match=r"spool\.db: Is a directory"):
        SpoolStore(path)


@pytest.mark.parametrize("is_replaced", [False, True])
def test_file_that_was_taken_away_takes_no_messages(path: Path, is_replaced: bool) -> None:
    with SpoolStore(path) as store:
        fill(store, 1)
        path.rename(path.with_name("away"))
        if is_replaced:
            path.touch()
        with pytest.raises(SpoolFailed, match="moved or deleted while in use; nothing was stored"):
            store.enqueue(letter(), **LIMITS)
        path.unlink(missing_ok=True)
        path.with_name("away").rename(path)
        assert store.enqueue(letter(), **LIMITS).depth == 2


def test_mistake_in_the_middle_leaves_nothing(store: SpoolStore) -> None:
    def half(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO bodies VALUES (77, 'half')")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.write(half)
    fill(store, 1)


def test_same_id_twice_is_refused_whole(store: SpoolStore) -> None:
    message = letter()
    store.enqueue(message, **LIMITS)
    with pytest.raises(sqlite3.IntegrityError):
        store.enqueue(message, **LIMITS)
    assert store.depth(BOB) == 1


def test_changes_of_others_are_seen_once(path: Path) -> None:
    with SpoolStore(path) as ours, SpoolStore(path) as theirs:
        ours.changed_elsewhere()
        fill(ours, 2)
        assert not ours.changed_elsewhere()
        fill(theirs, 1)
        assert ours.changed_elsewhere()
        assert not ours.changed_elsewhere()
        assert theirs.changed_elsewhere()


def test_leases_and_messages_survive_a_restart(path: Path) -> None:
    with SpoolStore(path) as store:
        first, _ = fill(store, 2)
        lease = store.lease(BOB, "fence", NOW)
    with SpoolStore(path) as store:
        assert store.leased(BOB) == lease
        assert store.depth(BOB) == 2
        assert store.lease(BOB, "other", NOW) is None
        store.consume(first.id, "transcript", NOW, fence="fence")
        assert store.queue(BOB, NOW).last_receipt_at == NOW


def test_log_is_folded_in_when_the_last_one_closes(path: Path) -> None:
    with SpoolStore(path) as store:
        fill(store, 10)
        assert Path(f"{path}-wal").stat().st_size > 0
    assert not Path(f"{path}-wal").exists()
    assert stored(path) == 10


def test_four_processes_keep_order_and_lose_nothing(path: Path) -> None:
    SpoolStore(path).close()
    names = ("a", "b", "c", "d")
    with (
        child("enqueue_some", path, "a", "100") as one,
        child("enqueue_some", path, "b", "100") as two,
        child("enqueue_some", path, "c", "100") as three,
        child("enqueue_some", path, "d", "100") as four,
    ):
        writers = (one, two, three, four)
        for writer in writers:
            assert said(writer) == "ready"
        for writer in writers:
            print(file=writer.stdin, flush=True)
        for writer in writers:
            rest(writer)
            assert writer.wait(30) == 0
    with SpoolStore(path) as store:
        check_counts(store)
        rows = store.read(
            lambda db: db.execute("SELECT sender, body FROM messages JOIN bodies USING (seq) ORDER BY seq").fetchall()
        )
    for name in names:
        assert [body for sender, body in rows if sender == f"claude-{name}"] == [str(number) for number in range(100)]
    assert len(rows) == 400


def test_two_deliverers_never_take_the_same_message(path: Path) -> None:
    with SpoolStore(path) as store:
        ids = [message.id for message in fill(store, 100)]
    with child("lease_all", path, "one") as one, child("lease_all", path, "two") as two:
        for process in (one, two):
            assert said(process) == "ready"
        for process in (one, two):
            print(file=process.stdin, flush=True)
        taken = [said(one), said(two)]
    assert sorted(taken[0] + taken[1]) == sorted(ids)
    for mine in taken:
        assert mine == sorted(mine)
    assert stored(path) == 0


def _sync_before_second_answer(path: Path, tmp_path: Path) -> tuple[str, int]:
    """Return the system call that makes the second message durable, and how many of it there were until then."""
    trace = tmp_path / "count"
    with child(
        "report", path, prefix=("strace", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-o", str(trace))
    ) as process:
        assert said(process) == "ready"
        for _ in range(2):
            print(file=process.stdin, flush=True)
            assert said(process) == "ok"
        os.kill(_traced(process.pid), signal.SIGKILL)
        process.wait(10)
    calls = [line.split(maxsplit=1)[1].split("(")[0] for line in trace.read_text().splitlines() if "sync(" in line]
    return calls[-1], calls.count(calls[-1])


def _traced(strace: int) -> int:
    return int(Path(f"/proc/{strace}/task/{strace}/children").read_text().split()[0])


def test_a_read_that_fails_is_an_error_of_the_spool_and_the_next_one_answers(store: SpoolStore) -> None:
    def fail(db: sqlite3.Connection) -> None:
        db.execute("ROLLBACK")  # as SQLite does by itself
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(SpoolFailed, match="check the disk"):
        store.read(fail)
    assert store.waiting() == {}
