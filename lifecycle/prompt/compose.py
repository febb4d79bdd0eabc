"""The prompt of a wake: layers from general to specific, each file under a comment with its path."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lifecycle.prompt.facts import document, facts_of, quote
from lifecycle.prompt.layers import Flaw, Layer, Piece, Prompt
from lifecycle.prompt.roster import fits, roster
from lifecycle.prompt.rules import RULES
from lifecycle.prompt.sources import Place, Source, places, read
from lifecycle.session import Sessions
from transport.clock import Clock
from transport.paths import Root
from transport.profile import Profile
from transport.registry import Registry
from transport.spool.contacts import contacts

PROMPT_BYTES: Final = 63_000
NOTES_BYTES: Final = 4_000
FRAME_BYTES: Final = 100
PATH_SHOWN: Final = 200
PROBLEM_SHOWN: Final = 120
RULES_HEADING: Final = "# Messages from peers"


@dataclass(slots=True)
class _Draft:
    """A prompt under way; `left` counts the bytes that may still be added."""

    left: int = PROMPT_BYTES - NOTES_BYTES - FRAME_BYTES
    pieces: list[Piece] = field(default_factory=list)
    flaws: list[Flaw] = field(default_factory=list)
    omitted: list[Flaw] = field(default_factory=list)

    def add(self, layer: Layer, text: str, path: Path | None = None) -> None:
        """Add a piece unless it is empty; one that does not fit is left out as a whole."""
        if not text:
            return
        piece = Piece(layer, text if path is None else f"{comment(path)}\n{text}", path)
        if path is not None and piece.size > self.left:
            self._omit(Flaw(path, f"the prompt would be over the limit of {PROMPT_BYTES:,} bytes; shorten it"))
            return
        self.left -= piece.size + len("\n\n")
        self.pieces.append(piece)

    def add_files(self, layer: Layer, sources: Iterable[Source]) -> None:
        """Add what files hold, as far as they can be used."""
        for source in sources:
            text, flaw = read(source)
            if flaw is not None and not text:
                self._omit(flaw)
            elif flaw is not None:
                self.flaws.append(flaw)
            self.add(layer, text, source.path)

    def add_listed(self, layer: Layer, lists: Sequence[tuple[list[Source], list[Flaw]]]) -> None:
        """Add the files of directories, the general one first."""
        for sources, flaws in lists:
            self.add_files(layer, sources)
            for flaw in flaws:
                self._omit(flaw)

    def _omit(self, flaw: Flaw) -> None:
        self.flaws.append(flaw)
        self.omitted.append(flaw)

    def note_omissions(self) -> None:
        """Say at the end what is missing, so that nobody takes the rest for the whole."""
        notes, left = list[str](), NOTES_BYTES
        for flaw in self.omitted:
            note = comment(flaw.path, f" is left out: {_plain(flaw.problem[:PROBLEM_SHOWN])}")
            left -= len(note.encode()) + 1
            if left < 0:
                notes.append(f"<!-- {len(self.omitted) - len(notes)} more are left out -->")
                break
            notes.append(note)
        if notes:
            self.pieces.append(Piece(Layer.FRAGMENTS, "\n".join(notes)))


@dataclass(frozen=True, slots=True)
class Composer:
    """Composes prompts from the files of one root, with or without a server; blocking, some milliseconds."""

    root: Root
    clock: Clock
    registry: Registry
    sessions: Sessions

    def compose(self, profile: Profile, runtime: str) -> Prompt:
        """Return what the next session of a peer is told; bare unless the peer has a PEER.md of its own.

        What is wrong with a file is in `flaws`: it never keeps anybody from being woken.
        """
        host, peer = places(self.root, profile.cwd)
        flaws = _unusable(peer)
        if flaws or not peer.main():
            return Prompt(flaws=flaws)
        draft = _Draft()
        draft.add(Layer.FACTS, document(facts_of(profile, runtime, self.clock.wall())))
        draft.add(Layer.RULES, f"{RULES_HEADING}\n\n{RULES}")
        draft.add_files(Layer.DOCTRINE, (*host.main(), *peer.main()))
        draft.add(Layer.REGISTRY, self._roster(profile))
        draft.add_listed(Layer.DOMAIN, (host.others(), peer.others()))
        draft.add_listed(Layer.FRAGMENTS, (host.fragments(), peer.fragments()))
        draft.note_omissions()
        return Prompt(tuple(draft.pieces), tuple(draft.flaws))

    def _roster(self, profile: Profile) -> str:
        peers = self.registry.snapshot().peers
        if fits(peers, profile.name):
            return roster(peers, profile.name)
        known = contacts(self.root.spool, profile.identities)
        live = {identity.personality for identity in self.sessions.identities()}
        return roster(peers, profile.name, contacts=known, live=live)


def _unusable(peer: Place) -> tuple[Flaw, ...]:
    if peer.directory.is_symlink():
        return (Flaw(peer.directory, "it is a symbolic link; put the directory itself there"),)
    return ()


def comment(path: Path, after: str = "") -> str:
    """Return a comment with a path in it, which no name of a file can end."""
    return f'<!-- "{_plain(str(path)[-PATH_SHOWN:])}"{after} -->'


def _plain(text: str) -> str:
    return quote(text)[1:-1].replace("--", r"-\u002d")
