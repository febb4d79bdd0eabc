"""Every threshold of the contract, as values that are passed down."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Durations in seconds, sizes in bytes, the rest counts."""

    boot_seconds: float = 240.0
    ready_seconds: float = 120.0
    blocked_seconds: float = 10.0
    receipt_seconds: float = 15.0
    attempts: int = 5
    message_ttl_seconds: float = 86_400.0
    backoff_seconds: float = 2.0
    backoff_max_seconds: float = 300.0
    wait_seconds: float = 20.0
    wait_max_seconds: float = 120.0
    human_quiet_seconds: float = 5.0
    inline_bytes: int = 8 * 1024
    hop_limit: int = 20
    queue_cap: int = 10_000
    sends_per_minute: int = 6_000
    wakes_at_once: int = 8
    crash_count: int = 3
    crash_window_seconds: float = 300.0
    ephemeral_quiet_seconds: float = 20.0
    ephemeral_silence_seconds: float = 600.0
    tick_seconds: float = 60.0
    control_idle_seconds: float = 30.0
