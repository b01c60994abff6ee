"""
Announce: breach events -> one e-mail to each operator contact of the facility, with a record of how the sending ended.

    event (stored) -> notice "sending" (stored) -> mail server -> notice "sent" (stored)

A dead mail server never stops judging: what could not be sent stays due and is tried again. A sent notice is never sent
again; when the process dies between sending and recording, the same mail goes out once more under the same Message-ID.
"""

from collections.abc import Iterator
from datetime import datetime
from email.message import EmailMessage
from typing import Any, NamedTuple

import polars as pl
import structlog

from ingest.errors import MailError
from ingest.model import Period
from ingest.registry import Contact
from ingest.schema import BREACH_EVENTS, NOTICES
from pipelines.indicators.table import INDICATORS
from pipelines.jobs.context import Context, Done
from pipelines.notify.message import compose

log = structlog.get_logger()

_CHANNEL = "email"
_FINAL = ("sent", "refused")

# so many failures in a row are the mail server's, not the recipients': the rest waits for the next turn
_PATIENCE = 3


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
    sent = failures = 0
    for due in sorted(_due(context, events, notices), key=lambda due: due.tries):
        status = _send(context, due, at)
        sent += status == "sent"
        failures = failures + 1 if status == "failed" else 0
        context.advance(1)
        if failures == _PATIENCE:
            break
    return sent


class _Notice(NamedTuple):
    """One message that is due: the event, the person, when it first was due, and how often it was tried."""

    event: dict[str, Any]
    contact: Contact
    first: datetime | None = None
    tries: int = 0


def _due(context: Context, events: pl.DataFrame, notices: pl.DataFrame) -> Iterator[_Notice]:
    known = {(row["event_id"], row["recipient"]): row for row in notices.iter_rows(named=True)}
    for event in events.iter_rows(named=True):
        for contact in context.registry.facilities[event["facility"]].contact:
            before = known.get((event["event_id"], contact.email))
            if contact.role != "operator":
                continue
            if before is None:
                yield _Notice(event, contact)
            elif before["status"] not in _FINAL:
                yield _Notice(event, contact, before["at"], before["tries"])


def _send(context: Context, due: _Notice, at: datetime) -> str:
    """Send one notice and record how it ended; the same notice again is the same mail, byte for byte."""
    first = due.first or at
    message = _message(context, due, first)
    notice = {
        "event_id": due.event["event_id"],
        "channel": _CHANNEL,
        "recipient": due.contact.email,
        "facility": due.event["facility"],
        "at": first,
        "status": "sending",
        "message_id": message["Message-ID"],
        "tries": due.tries + 1,
        "error": "",
    }
    _record(context, notice)
    try:
        context.mailer.send(message)
        ending = {"status": "sent"}
    except MailError as error:
        ending = {"status": "failed" if error.retryable else "refused", "error": str(error)}
        log.warning("notice not sent", recipient=due.contact.email, notice=due.event["event_id"], **ending)
    _record(context, notice | ending)
    return ending["status"]


def _message(context: Context, due: _Notice, first: datetime) -> EmailMessage:
    rule = context.catalogue.rules[due.event["rule"]]
    return compose(
        due.event,
        facility=context.registry.facilities[due.event["facility"]],
        rule=rule,
        document=context.catalogue.documents[rule.document],
        indicator=INDICATORS[due.event["indicator"]].title,
        sender=context.sender,
        recipient=due.contact,
        at=first,
    )


def _record(context: Context, notice: dict[str, Any]) -> None:
    context.store.write(NOTICES.name, pl.DataFrame([notice], schema=NOTICES.schema))
