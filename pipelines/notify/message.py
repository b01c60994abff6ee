"""
One breach event and whom it concerns -> one e-mail, as plain text and as HTML, in the facility's language. Pure.

    event, facility, rule, document -> notice -> templates -> EmailMessage

The same arguments give the same message, byte for byte, and its Message-ID depends on the event and the addresses
alone: a second try is the same mail. Names are hostile: no line break reaches a header, no mark-up reaches the HTML.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

from ingest.errors import WorkError
from ingest.model import Text
from ingest.registry import Contact, Facility
from pipelines.notify.notice import Notice, clean, notice, say
from pipelines.notify.templating import environment
from rules.model import Document, Rule

_TEMPLATES = environment("pipelines.notify")

# dark enough for white text on them and for themselves on white (WCAG 2.1 AA, 4.5:1)
_COLOURS = {
    "opened_breach": "#b3261e",
    "opened_warning": "#8a5300",
    "closed_breach": "#1e6b3a",
    "closed_warning": "#1e6b3a",
    "withdrawn_breach": "#4a5865",
    "withdrawn_warning": "#4a5865",
}


def compose(
    event: Mapping[str, Any],
    *,
    facility: Facility,
    rule: Rule,
    document: Document,
    indicator: Text,
    sender: str,
    recipient: Contact,
    at: datetime,
) -> EmailMessage:
    """
    Write the notice of one breach event to one person.

    Args:
        event: one BREACH_EVENTS row by column name.
        facility: the facility of the event; its language is the language of the notice, its zone that of the dates.
        rule: the rule of the event.
        document: the document the rule stands in.
        indicator: title of the event's indicator.
        sender: address of the From header.
        recipient: who is told.
        at: the moment of the Date header; aware.

    Returns:
        A multipart/alternative message (text, HTML) that needs no remote content.

    Raises:
        WorkError: the event opens or closes a breach and has no value.
    """
    said = notice(event, facility=facility, rule=rule, document=document, indicator=indicator)
    if event["kind"] != "withdrawn" and not said.figures:
        raise WorkError(f"event {event['event_id']} ({event['kind']}): found no value; wanted the one that was judged")
    digest = hashlib.sha256(f"{event['event_id']}\n{recipient.email}".encode()).hexdigest()[:40]
    name, domain = clean(recipient.name), sender.rpartition("@")[2]
    # seven bits pass every mail server, also one without 8BITMIME
    message = EmailMessage(policy=SMTP.clone(cte_type="7bit"))
    message["From"] = _address("PeakWatch", sender)
    message["To"] = _address(name, recipient.email)
    message["Subject"] = subject = say(facility.language, "text", "subject", tag=said.tag, headline=said.headline)
    message["Date"] = at.astimezone(facility.zone)
    message["Message-ID"] = f"<{digest}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    _fill(message, said, facility.language, subject=subject, recipient=f"{name} <{recipient.email}>")
    # a drawn one would make every try another mail
    message.set_boundary(f"=_{digest}")
    return message


def _fill(message: EmailMessage, said: Notice, language: str, *, subject: str, recipient: str) -> None:
    """Lay the notice out, as text and as HTML."""
    shown = {
        **said._asdict(),
        "language": {"zh": "zh-CN", "en": "en"}[language],
        "subject": subject,
        "colour": _COLOURS[said.tone],
        "colon": say(language, "text", "colon"),
        "footer": say(language, "text", "footer", recipient=recipient),
    }
    message.set_content(_TEMPLATES.get_template("notice.txt").render(shown))
    message.add_alternative(_TEMPLATES.get_template("notice.html").render(shown), subtype="html")
    # not before: the message hands the content headers it has to its first part
    message["Content-Language"] = shown["language"]


def _address(name: str, address: str) -> Address:
    user, _, domain = address.rpartition("@")
    return Address(name, user, domain)
