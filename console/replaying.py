"""The served vectors computed again, for `samestream replay`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from samestream.schemas.errors import RecoveryError
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.vector_file import VectorFile
from samestream.streams.log.vector_replay import Progress, followed, journaled, logged_of, span
from samestream.streams.log.vector_resend import VectorResend
from samestream.streams.plan import Plan
from samestream.streams.transport import Transport


@dataclass
class Replayed:
    """What a replay did. events : of the entries whose vectors were wanted; vectors : in the range, by model.

    unlogged : batches of the journal that the feature log has not come to, and that were therefore not replayed
    other_definition : batches that another definition served: by the present one, their vectors are others
    """

    events: int
    vectors: dict[str, int]
    seconds: float
    written: int | None = None
    unlogged: int = 0
    other_definition: int = 0


def run(
    plan: Plan,
    transport: Transport | None,
    log: FeatureLog | None,
    models: Sequence[str],
    *,
    from_us: int | None = None,
    to_us: int | None = None,
    file: VectorFile | None = None,
    resend: VectorResend | None = None,
    on_progress: Progress | None = None,
) -> Replayed:
    """Follow the journal through the kernel, and hand on the vectors with trigger event time in [from_us, to_us).

    transport : None to follow the journal that the log holds
    log : None to read the events from the topics
    Raises RecoveryError where there is nothing in the range, or the journal's events are gone.
    """
    started = time.monotonic()
    every = journaled(plan, transport, log)
    entries = every if log is None else logged_of(plan, log, every)
    # what a topic holds is compared from its beginning, so only a file alone may begin later
    filed = file.done_sequence if file is not None else -1
    after = filed if resend is None else -1
    part = span(plan, entries, from_us, to_us, after)
    nothing = RecoveryError(
        "there is nothing to replay",
        where=plan.app,
        found=f"{len(entries)} batches in the journal, no vector of them in this range",
        hint="widen --from and --to, or run `samestream run MODULE features log` first.",
    )
    if part.first >= part.end and after < 0:
        raise nothing
    done = Replayed(0, dict.fromkeys(models, 0), 0.0, unlogged=len(every) - len(entries))
    done.other_definition = sum(entry.fingerprint != plan.fingerprint for entry in entries[part.first : part.end])
    try:
        for entry, _, made in followed(plan, transport, log, entries, part, on_progress):
            done.events += sum(range_.end - range_.start for range_ in entry.ranges)
            for vectors in made:
                if vectors.model.name in done.vectors:
                    done.vectors[vectors.model.name] += int(vectors.within(from_us, to_us).sum())
            if file is not None and entry.sequence > filed:
                file.take(entry.sequence, made)
            if resend is not None:
                resend.take(made)
    finally:
        if resend is not None:
            resend.close()
    if after < 0 and not any(done.vectors.values()):
        raise nothing
    if file is not None:
        done.written = file.finish(entries[part.end - 1].sequence)
    done.seconds = time.monotonic() - started
    return done
