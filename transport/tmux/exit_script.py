"""The script that a pane's death runs: shell builtins that append one logfmt line, whatever PATH is."""

import shlex
import shutil
from pathlib import Path
from typing import Final

from transport.logs import quote

STAMP: Final = "+%Y-%m-%dT%H:%M:%S.%3N%:z"
LAYOUT: Final = (
    "ts=%s ev=session-exit identity=%s dead_status=%s dead_signal=%s cause=%s by=%s"
    " server_pid=%s server_started=%s%s\\n"
)

FROM_KERNEL: Final = """by=tmux
if [ -z "$status$signal" ]; then by=nobody
if [ -O "/proc/$pane" ] && read -r line <"/proc/$pane/stat"; then case ${line##*) } in [ZX]*) code=${line##* } by=kernel
if [ $((code & 127)) = 0 ]; then status=$((code >> 8)); else signal=$((code & 127)); fi;; esac; fi; fi 2>/dev/null
"""
"""What tmux does not tell stands in the last field of a zombie's stat, for those who own it."""

CAUSE: Final = """cause=unknown
if [ -n "$signal" ]; then name=$(kill -l "$signal" 2>/dev/null); cause=${name:+SIG$name}; cause=${cause:-signal:$signal}
elif [ -n "$status" ]; then cause=exit:$status; fi
"""

OUT_OF_MEMORY: Final = """more=
if [ "$signal" = 9 ]; then while IFS=: read -r number kind place; do case $number:$kind in
0:) set -- "/sys/fs/cgroup$place/memory.events" "/sys/fs/cgroup/unified$place/memory.events";;
*:memory) set -- "/sys/fs/cgroup/memory$place/memory.oom_control";; *) continue;; esac
for file; do [ -r "$file" ] && while read -r word count; do
[ "$word" = oom_kill ] && [ "$count" -gt 0 ] && more=" oom_kills=$count"
done <"$file"; done; done </proc/self/cgroup; fi 2>/dev/null
"""
"""How many processes the kernel has killed for want of memory in the session's cgroup: a fact, not a verdict."""


def exit_script(log: Path, identity: str, watches: Path | None = None, date: str | None = None) -> str:
    """Return a script that appends one line about the dead pane to `log`.

    It runs with `ts`, `status`, `signal`, `server`, `started` and `pane` set. `date` is the absolute path of a
    `date` that may know milliseconds. Once the line is written, the watch file of this server in
    `watches` is emptied: its end is accounted for.
    """
    values = f'"$ts" {shlex.quote(identity)} "$status" "$signal" "$cause" "$by" "$server" "$started" "$more"'
    parts = ["umask 077\n"]
    if date is not None:
        now = f"now=$({shlex.quote(date)} -u {shlex.quote(STAMP)} 2>/dev/null)"
        parts.append(f"{now}; case $now in *.[0-9][0-9][0-9]+00:00) ts=$now;; esac\n")
    parts += [FROM_KERNEL, CAUSE, OUT_OF_MEMORY, f"printf '{LAYOUT}' {values} >>{shlex.quote(str(log))}"]
    if watches is not None:
        place = shlex.quote(str(watches))
        parts.append(f" && [ -d {place} ] && : >{place}/{shlex.quote(identity)}.$server")
    return "".join(parts)


def of_server(script: str, started: str) -> str:
    """Return the script with `started` set: when its tmux server was started, as a value of a log line."""
    return f"started={shlex.quote(quote(started))}; {script}"


def date_program() -> str | None:
    """Return the absolute path of `date`, None when there is none to be found."""
    found = shutil.which("date")
    return found if found is not None and Path(found).is_absolute() else None
