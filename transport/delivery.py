"""Handing one message over to an agent's terminal, and settling an attempt that may have succeeded."""

import unicodedata
from dataclasses import replace

from transport.attempt import Attempt, Before, HandOver, OnStage
from transport.clock import Clock
from transport.errors import InvalidInput
from transport.gate import Gate, Target, gate
from transport.pace import PACE, Pace, await_receipt
from transport.vocabulary import Stage

__all__ = ["Gate", "HandOver", "Pace", "Target", "await_receipt", "deliver", "gate", "hand_over", "resume_hand_over"]


async def hand_over(
    target: Target, text: str, message_id: str, *, on_stage: OnStage, clock: Clock, pace: Pace = PACE
) -> HandOver:
    """Paste a message that was never typed, verify it, submit it, wait for the receipt.

    Should exactly this text stand in the composer already, it is submitted. `on_stage` is awaited before
    the step it names. Raises InvalidInput for control characters, and TmuxUnknown, TmuxGone, TmuxRefused,
    LockHeld: after `PASTING` these leave open whether it arrived, and `resume_hand_over` finds out.
    """
    attempt = Attempt(target, _typeable(text), message_id, on_stage, clock, pace)
    async with target.pane.exclusive:
        return await attempt.run()


async def resume_hand_over(
    target: Target,
    text: str,
    message_id: str,
    *,
    on_stage: OnStage,
    clock: Clock,
    pace: Pace = PACE,
    since: float | None = None,
) -> HandOver:
    """Settle an attempt that may have succeeded: transcript first, then the composer; pastes nothing.

    Text of ours in the composer is submitted; where only its end or its collapsed form is seen, only if no person
    attached or pressed a key after `since` (wall seconds). A client without a trace of it after a grace period, that
    has read all input and waits for more, never got it: only then `typed` is False, and it may be handed over
    anew. Raises as `hand_over`.
    """
    attempt = Attempt(target, _typeable(text), message_id, on_stage, clock, pace, since)
    async with target.pane.exclusive:
        return await attempt.look_back()


async def deliver(
    target: Target,
    text: str,
    message_id: str,
    *,
    stage: Stage,
    on_stage: OnStage,
    clock: Clock,
    pace: Pace = PACE,
    is_repeated: bool = False,
    since: float | None = None,
    attempts: int | None = None,
) -> HandOver:
    """Hand a leased message over from the stage it reached; what may have arrived is not repeated.

    `is_repeated`: it may have been typed before, in this lease or an earlier one. `since` is as for `resume_hand_over`.
    It is typed at most `attempts` times in one lease, by whatever servers: a client may take each of them and never
    write down what it took.
    """
    before = Before.LEASED if is_repeated else Before.NEVER
    attempt = Attempt(target, _typeable(text), message_id, on_stage, clock, pace, since, before)
    async with target.pane.exclusive:
        if stage is not Stage.HELD:
            settled = await attempt.look_back()
            if settled.receipt is not None or settled.typed:
                return settled
            if attempts is not None and attempt.times >= attempts:
                evidence = f"{settled.evidence}, typed {attempt.times} times"
                return replace(settled, typed=True, evidence=evidence, is_spent=True)
            await on_stage(Stage.HELD)
            attempt.before = Before.PASTING
        return await attempt.run()


def _typeable(text: str) -> str:
    """Return the text with LF line ends; raises InvalidInput for what could end the paste or press keys."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    bad = next((char for char in lines if unicodedata.category(char) == "Cc" and char not in "\n\t"), None)
    if bad is not None or not lines.strip():
        raise InvalidInput("text", f"holds {bad!r}, which may not reach a terminal" if bad else "is empty")
    return lines
