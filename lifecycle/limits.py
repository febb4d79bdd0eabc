"""Every threshold of the contract, as values that are passed down."""

from dataclasses import dataclass

from lifecycle.setting import DAY, LEAST_SECONDS, YEAR, Unit, count, seconds, setting, size


@dataclass(frozen=True, slots=True)
class Limits:
    """Each with its unit, its range and its meaning; `config.toml` and PEERWAKE_* set them."""

    boot_seconds: float = seconds(
        240.0, "a client that is not ready so long after its start is blocked", LEAST_SECONDS, DAY
    )
    ready_seconds: float = seconds(
        120.0, "the first prompt of a fresh session is to be taken within this", LEAST_SECONDS, DAY
    )
    blocked_seconds: float = seconds(
        10.0, "a screen that nobody recognises is reported as blocked after this", LEAST_SECONDS, 3_600
    )
    receipt_seconds: float = seconds(
        15.0, "a message that was typed is to show in the transcript within this", LEAST_SECONDS, 3_600
    )
    attempts: int = count(5, "a message is a dead letter after so many attempts", 1, 100)
    message_ttl_seconds: float = seconds(DAY, "a message that waits longer is a dead letter", LEAST_SECONDS, YEAR)
    backoff_seconds: float = seconds(2.0, "wait before the second attempt; it doubles with each further one", 0, 3_600)
    backoff_max_seconds: float = seconds(300.0, "longest wait between two attempts", LEAST_SECONDS, DAY)
    wait_seconds: float = seconds(20.0, "a sender waits so long for the receipt while there is progress", 0, 120)
    wait_max_seconds: float = seconds(120.0, "longest wait that a sender may ask for", LEAST_SECONDS, 120)
    human_quiet_seconds: float = seconds(
        5.0, "nothing is typed until a person at the terminal is quiet for this", 1, 3_600
    )
    inline_bytes: int = size(8 * 1024, "a longer body is handed over as a file with its first lines", 1, 65_536)
    hop_limit: int = count(20, "a chain of replies longer than this is refused", 1, 1_000)
    queue_cap: int = count(10_000, "a queue with so many unsettled messages takes no more", 1, 10_000_000)
    sends_per_minute: int = setting(6_000, Unit.PER_MINUTE, "more messages of one sender are refused", 1, 10_000_000)
    wakes_at_once: int = count(8, "so many sessions of the host start at the same time", 1, 1_000)
    crash_count: int = count(3, "so many deaths in crash_window_seconds stop the wakes of a peer", 1, 1_000)
    crash_window_seconds: float = seconds(300.0, "the time in which crash_count deaths count", LEAST_SECONDS, DAY)
    ephemeral_quiet_seconds: float = seconds(
        20.0, "a worker that has replied and is quiet for this is closed", LEAST_SECONDS, DAY
    )
    ephemeral_silence_seconds: float = seconds(
        600.0, "a worker that is silent for this is closed and its task tried again", LEAST_SECONDS, 7 * DAY
    )
    ephemeral_max_seconds: float = seconds(
        0.0, "a worker whose task takes longer is closed and the task tried again", LEAST_SECONDS, 7 * DAY, "no bound"
    )
    tick_seconds: float = seconds(60.0, "supervision looks at everything so often, besides events", 0.01, 3_600)
    idle_seconds: float = seconds(3_600.0, "a session in which nothing happens for this is closed", LEAST_SECONDS, YEAR)
    self_end_seconds: float = seconds(
        300.0, "a session that says self new or self done is closed after this, also in mid-turn", LEAST_SECONDS, DAY
    )
    wedged_seconds: float = seconds(
        120.0, "a session that gives no answer for this is reported as wedged", LEAST_SECONDS, DAY
    )
    keep_settled_seconds: float = seconds(7 * DAY, "settled messages are kept for this", LEAST_SECONDS, 10 * YEAR)
    mass_death_count: int = count(5, "so many deaths in mass_death_seconds are reported as one event", 1, 10_000)
    mass_death_seconds: float = seconds(5.0, "the time in which mass_death_count deaths count", LEAST_SECONDS, 3_600)
    control_idle_seconds: float = seconds(
        30.0, "a tmux control connection that nobody uses for this is closed", LEAST_SECONDS, DAY
    )
    log_bytes: int = size(4 << 20, "a log file is rotated at this size", 4_096, 1 << 30)
    log_files: int = count(3, "so many rotated files of each log are kept", 1, 9)
    pane_log_bytes: int = size(4 << 20, "a pane log is rotated at this size", 4_096, 1 << 30)
    pane_log_budget_bytes: int = size(256 << 20, "all pane logs together; the oldest go first", 65_536, 1 << 40)
    pane_log_keep_seconds: float = seconds(
        14 * DAY, "a pane log that nobody writes to is removed after this", 1, 10 * YEAR
    )
