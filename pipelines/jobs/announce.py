"""
Announce: breach events -> one e-mail to each operator contact of the facility, with a record of how the sending ended.

    event (stored) -> notice "sending" (stored) -> mail server -> notice "sent" (stored)

A dead mail server never stops judging: what could not be sent stays due and is tried again. A sent notice is never sent
again; when the process dies between sending and recording, the same mail goes out once more under the same Message-ID.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import polars as pl
import structlog

from ingest.errors import MailError, MailUnavailable
from ingest.model import Period
from ingest.registry import Contact
from ingest.schema import BREACH_EVENTS, NOTICES
from pipelines.indicators.table import INDICATORS
from pipelines.jobs.context import Context, Done
from pipelines.notify.message import compose

log = structlog.get_logger()

_CHANNEL = "email"
_FINAL = ("sent", "refused")


def over(context: Context, period: Period, at: datetime) -> Done:
    """
    Send what is due of the events judged in a period.

    Returns:
        The number of notices that were sent.
    """
    return Done(_announce(context, period, at))


def due(context: Context, news: Period, at: datetime) -> Done:
    """Send every notice that is still due, whenever its event was judged."""
    del news
    return Done(_announce(context, None, at))


def _announce(context: Context, judged: Period | None, at: datetime) -> int:
    events = context.store.read(BREACH_EVENTS.name, judged, facility=list(context.registry.facilities))
    events = events.sort("at", "start", "event_id")
    notices = context.store.read(NOTICES.name, event_id=events["event_id"].to_list())
    sent = 0
    for event, contact, before in _due(context, events, notices):
        status = _send(context, event, contact, before=before, at=at)
        sent += status == "sent"
        context.advance(1)
        if status == "failed":
            break
    return sent


def _due(
    context: Context, events: pl.DataFrame, notices: pl.DataFrame
) -> Iterator[tuple[dict[str, Any], Contact, Mapping[str, Any]]]:
    known = {(row["event_id"], row["recipient"]): row for row in notices.iter_rows(named=True)}
    for event in events.iter_rows(named=True):
        for contact in context.registry.facilities[event["facility"]].contact:
            before = known.get((event["event_id"], contact.email), {})
            if contact.role == "operator" and before.get("status") not in _FINAL:
                yield event, contact, before


def _send(context: Context, event: dict[str, Any], contact: Contact, *, before: Mapping[str, Any], at: datetime) -> str:
    rule = context.catalogue.rules[event["rule"]]
    message = compose(
        event,
        facility=context.registry.facilities[event["facility"]],
        rule=rule,
        document=context.catalogue.documents[rule.document],
        indicator=INDICATORS[event["indicator"]].title,
        sender=context.sender,
        recipient=contact,
        at=at,
    )
    notice = {
        "event_id": event["event_id"],
        "channel": _CHANNEL,
        "recipient": contact.email,
        "facility": event["facility"],
        "at": before.get("at", at),
        "status": "sending",
        "message_id": message["Message-ID"],
        "tries": before.get("tries", 0) + 1,
        "error": "",
    }
    _record(context, notice)
    try:
        context.mailer.send(message)
    except MailUnavailable as error:
        notice |= {"status": "failed", "error": str(error)}
    except MailError as error:
        notice |= {"status": "refused", "error": str(error)}
    else:
        notice |= {"status": "sent"}
    _record(context, notice)
    if notice["error"]:
        log.warning("notice not sent", recipient=contact.email, event=event["event_id"], error=notice["error"])
    return str(notice["status"])


def _record(context: Context, notice: dict[str, Any]) -> None:
    context.store.write(NOTICES.name, pl.DataFrame([notice], schema=NOTICES.schema))
