"""Whether a live session is idle: cheap signs first, and a proof at its terminal only when these are quiet.

A sign is content that grew: the transcript, what the peer sent, the pane's log. A file that is only
touched is none, and output that leaves the screen as it was (a client that redraws itself) is none either.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio.to_thread

from lifecycle.board import Board
from lifecycle.decide import Activity
from lifecycle.limits import Limits
from lifecycle.session import Session
from lifecycle.sight import Sight
from transport.clock import Clock
from transport.errors import PeerwakeError
from transport.identity import Identity

See = Callable[[Session], Awaitable[Sight]]
Sizes = Callable[[Session, bool], Awaitable[tuple[int, ...]]]
Size = tuple[int, int]

CLOCK_SLACK_SECONDS: Final = 2.0
LOOKS: Final = 8


@dataclass(frozen=True, slots=True)
class Signs:
    """Sizes of what grows while a session works: `pane` is the log of its output, the others are its words."""

    transcript: tuple[int, ...]
    sent: int
    pane: Size

    @property
    def words(self) -> tuple[tuple[int, ...], int]:
        return self.transcript, self.sent


@dataclass(frozen=True, slots=True)
class Standing:
    """What a session does; `quiet_since` and `unknown_since` are monotonic seconds."""

    activity: Activity
    quiet_since: float
    unknown_since: float | None = None
    detail: str = ""


@dataclass(slots=True)
class Track:
    """What is remembered of one session between two looks; `is_close` has it looked at on every tick.

    `seen_at` is wall seconds, to compare with tmux; the other times are monotonic.
    """

    quiet_since: float
    signs: Signs | None = None
    sight: Sight | None = None
    seen_at: float = 0.0
    looked_at: float = 0.0
    unknown_since: float | None = None
    is_close: bool = False


@dataclass(slots=True)
class Idleness:
    """Tracks the live sessions, by their fence; the clock of a session starts when it is seen first.

    `see` looks at a terminal, `sizes` says how long the transcripts are, looking for a new one if `locate`.
    A look costs a process now and then, so there are a few at most between two calls of `begin`; the
    sessions that were not looked at for the longest time come first.
    """

    see: See
    sizes: Sizes
    pane_log: Callable[[Identity], Path]
    board: Board
    limits: Limits
    clock: Clock
    _tracks: dict[str, Track] = field(default_factory=dict)
    _touched: dict[Identity, float] = field(default_factory=dict)
    _panes: Mapping[Identity, Size] = field(default_factory=dict)
    _looks_left: int = LOOKS

    def begin(self, sessions: Collection[Session], panes: Mapping[Identity, Size] | None = None) -> list[Session]:
        """Begin to go through the live sessions and forget all others; returns the order to look at them in.

        `panes` are the sizes of pane logs as they are now, all read at once; the others are read one by one.
        """
        self._panes = panes or {}
        fences = {session.fence for session in sessions}
        self._tracks = {fence: track for fence, track in self._tracks.items() if fence in fences}
        live = {session.identity for session in sessions}
        self._touched = {identity: at for identity, at in self._touched.items() if identity in live}
        self._looks_left = LOOKS
        return sorted(sessions, key=lambda session: (self._track(session).looked_at, session.identity))

    def touch(self, identity: Identity) -> None:
        """Something was done with an identity's session just now."""
        self._touched[identity] = self.clock.monotonic()

    def told(self, session: Session, activity: Activity, detail: str = "") -> Standing:
        """Take the word of the drain that works with a session."""
        track = self._track(session)
        track.quiet_since = self.clock.monotonic()
        track.sight = None
        self._judge_unknown(track, activity)
        return Standing(activity, track.quiet_since, track.unknown_since, detail)

    def is_idle(self, standing: Standing) -> bool:
        """Tell whether the proof holds for the whole time that a session has to be idle."""
        now = self.clock.monotonic()
        return standing.activity is Activity.IDLE and now - standing.quiet_since >= self.limits.idle_seconds

    async def assess(self, session: Session) -> Standing:
        """Return what a session does; its terminal is opened only when there is something to find out."""
        track, now = self._track(session), self.clock.monotonic()
        try:
            signs = await self._signs(session, locate=False)
        except (PeerwakeError, OSError) as error:
            return self._unknown(track, str(error))
        has_news = track.signs is None or signs != track.signs
        is_settled = track.sight is not None and track.sight.activity is Activity.QUIET and not track.is_close
        if is_settled and not has_news and now - track.quiet_since < self.limits.idle_seconds:
            return Standing(Activity.QUIET, track.quiet_since)
        if self._looks_left <= 0:
            known = Activity.ACTIVE if track.sight is None or has_news else track.sight.activity
            return Standing(known, track.quiet_since, track.unknown_since)
        self._looks_left -= 1
        return await self.look(session)

    async def look(self, session: Session) -> Standing:
        """Look at a session's terminal and say what it does: `idle` only with the whole proof."""
        track, sight = self._track(session), await self.see(session)
        try:
            signs = await self._signs(session, locate=True)
        except (PeerwakeError, OSError) as error:
            return self._unknown(track, str(error))
        now = self.clock.monotonic()
        if not self._is_unchanged(track, sight, signs):
            track.quiet_since = now
        track.signs, track.sight, track.seen_at, track.looked_at = signs, sight, self.clock.wall(), now
        self._judge_unknown(track, sight.activity)
        is_idle = sight.activity is Activity.QUIET and now - track.quiet_since >= self.limits.idle_seconds
        activity = Activity.IDLE if is_idle else sight.activity
        return Standing(activity, track.quiet_since, track.unknown_since, sight.detail)

    def _unknown(self, track: Track, detail: str) -> Standing:
        track.quiet_since, track.sight = self.clock.monotonic(), None
        self._judge_unknown(track, Activity.UNKNOWN)
        return Standing(Activity.UNKNOWN, track.quiet_since, track.unknown_since, detail)

    def _track(self, session: Session) -> Track:
        track = self._tracks.setdefault(session.fence, Track(self.clock.monotonic()))
        track.quiet_since = max(track.quiet_since, self._touched.get(session.identity, track.quiet_since))
        return track

    def _is_unchanged(self, track: Track, sight: Sight, signs: Signs) -> bool:
        """Tell whether nothing has happened since the last look, of which output without an effect is a part."""
        before = track.sight
        if sight.activity is not Activity.QUIET:
            return False
        if before is None or track.signs is None:
            return True
        if before.activity is not Activity.QUIET or before.lines != sight.lines or signs.words != track.signs.words:
            return False
        if signs.pane != track.signs.pane:
            track.is_close = False
        elif not track.is_close and self._had_output(track, sight):
            # There was output that the log does not have: from now on only looking can tell.
            track.is_close = True
            return False
        return True

    def _had_output(self, track: Track, sight: Sight) -> bool:
        """Tell whether there was output since the last look, or nobody can tell."""
        at = sight.output_at
        return at is None or at > track.seen_at + CLOCK_SLACK_SECONDS or at > self.clock.wall() + CLOCK_SLACK_SECONDS

    def _judge_unknown(self, track: Track, activity: Activity) -> None:
        if activity is not Activity.UNKNOWN:
            track.unknown_since = None
        elif track.unknown_since is None:
            track.unknown_since = self.clock.monotonic()

    async def _signs(self, session: Session, *, locate: bool) -> Signs:
        sizes = await self.sizes(session, locate)
        pane = None if locate else self._panes.get(session.identity)
        if pane is None:
            pane = await anyio.to_thread.run_sync(size_of, self.pane_log(session.identity))
        return Signs(sizes, self.board.sends(session.identity), pane)


def size_of(path: Path) -> Size:
    """Return which file this is and its size; times are not looked at, because a touch is no sign of work."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_ino, status.st_size
