"""The tick without news: proves that what gold shows is still what the source is, without Spark.

Nothing has to be read, folded or built when nothing was committed; that has to be shown, though, or
silence could not be told from a capture that has stopped. Three accounts must agree: capture has
confirmed the source's position of now, Kafka has nothing beyond what the last complete tick saw,
and the witness, which reads the log by itself, has no change since the cut. Then the cut stands
through now (`control.cuts.unchanged_through`), and so do the tables and marts that are of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from confluent_kafka import KafkaException

from orchestration import capture_looks, control, news
from orchestration.settings import Settings
from pipelines import cut as cuts
from pipelines.capture.guarding import CaptureBroken
from pipelines.certificate import witness
from pipelines.certificate.window import WitnessBusy, WitnessLost
from pipelines.visibility import Cut
from schemas import topics

# A sensor must answer soon; capture that is further behind is the guard's business.
CAPTURE_WITHIN_S = 10.0


class Unproven(RuntimeError):
    """Nothing has come, but that there was nothing cannot be shown now; the message says why."""


class NotBrought(RuntimeError):
    """The source has changes that capture has passed and Kafka has not: a tick must name them."""


@dataclass(frozen=True)
class Standing:
    """The cut that gold shows, and the moment of the source up to which nothing changed it."""

    cut_id: int
    through: Cut


def confirm(settings: Settings, seen: news.Offsets) -> Standing:
    """Move the standing cut's `unchanged_through` to now. Idempotent; needs no lease.

    `seen`: what the tick of that cut had seen of Kafka before it took the cut. Raises Unproven, and
    NotBrought when the source's own log tells of changes.
    """
    standing = control.standing_cut(settings.warehouse_dsn)
    # One that was lost or moved ends here, as it does before a cut; the next tick has another.
    witness.ensure(settings.oltp_admin_dsn, settings.warehouse_dsn)
    agreed = witness.agreed(settings.warehouse_dsn)
    if standing is None or agreed is None or agreed[0] != standing[0]:
        raise Unproven("the certificate has not reached the published cut")
    cut_id, cut = agreed
    try:
        capture_looks.require(settings)
        now = cuts.moment(settings.oltp_admin_dsn)
        cuts.wait_for_capture(settings.oltp_admin_dsn, now, CAPTURE_WITHIN_S)
        # Read after the wait: everything committed before `now` is below these ends.
        ends = news.end_offsets(settings.kafka, topics.captured()) | news.released(settings.lake)
        if news.newer(ends, seen):
            raise Unproven("changes came while it was looked")
        window = witness.window(settings.oltp_admin_dsn, cut, now)
        missed = {change.entity for change in window.changes()}
    except (CaptureBroken, cuts.CaptureBehind, WitnessLost, WitnessBusy, KafkaException) as error:
        raise Unproven(str(error)) from error
    if missed:
        raise NotBrought(f"committed and not in Kafka: changes of {', '.join(sorted(missed))}")
    control.keep_standing(settings.warehouse_dsn, cut_id, now)
    witness.stay(settings.oltp_admin_dsn, settings.warehouse_dsn, cut_id, window)
    return Standing(cut_id, now)
