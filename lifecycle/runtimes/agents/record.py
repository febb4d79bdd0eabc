"""The agent's transcript: one JSON object per line, each written at once."""

import errno
import os
import time

FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW


class Transcript:
    """`<directory>/<session id>.jsonl`; it appears with its first record."""

    def __init__(self, directory: str, session_id: str, about: dict[str, object]) -> None:
        self.directory = directory
        self.session_id = session_id
        self._about = about
        self._descriptor: int | None = None
        self.problem = ""

    @property
    def path(self) -> str:
        return os.path.join(self.directory, f"{self.session_id}.jsonl")

    @property
    def exists(self) -> bool:
        return os.path.isfile(self.path)

    def write(self, kind: str, **fields: object) -> bool:
        """Append one record of this type; False when it was not written, and `problem` says why."""
        try:
            if self._descriptor is None:
                os.makedirs(self.directory, mode=0o700, exist_ok=True)
                self._descriptor = os.open(self.path, FLAGS, 0o600)
                self._line("session", {"session_id": self.session_id, "pid": os.getpid()} | self._about)
            self._line(kind, fields)
            self.problem = ""
        except OSError as error:
            self.problem = f"the transcript cannot be written: {error.strerror}"
        return not self.problem

    def successor(self, session_id: str) -> "Transcript":
        """End this conversation by naming the next one, and return that one's transcript."""
        self.write("cleared", next=session_id)
        self.close()
        return Transcript(self.directory, session_id, self._about | {"previous": self.session_id})

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _line(self, kind: str, fields: dict[str, object]) -> None:
        import json

        line = json.dumps({"type": kind, "at": round(time.time(), 3)} | fields, ensure_ascii=False) + "\n"
        data = line.encode("utf-8", "replace")
        assert self._descriptor is not None
        written = os.write(self._descriptor, data)
        if written < len(data):
            # Half a record would spoil the next one.
            os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
