"""
The way out for notices, chosen by the URL of the setting `mail`.

    file:./outbox                    one .eml file a message
    smtp://host:587?starttls=1       SMTP, encrypted by STARTTLS where asked for
    smtps://host:465                 SMTP over TLS

Certificates are always checked, and a password never travels unencrypted. Connecting looks at settings only; the
network and the folder are touched by the first message.
"""

import hashlib
import os
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Literal, Protocol
from urllib.parse import SplitResult, urlsplit

from ingest.errors import ConfigurationError, MailError, MailUnavailable, Problem
from pipelines.notify.notice import clean

_WANTED = "file:folder, smtp://host:587?starttls=1 or smtps://host:465"

_LOGIN = "the login belongs into PEAKWATCH_MAIL_USER and PEAKWATCH_MAIL_PASSWORD, or into files of their names"

# RFC 5321, 4.2.1: from here on the answer stays the same however often one asks
_PERMANENT = 500

# a mail server that says nothing for so long is taken as down
_PATIENCE_SECONDS = 30.0

# of a server's answer, what fits into one sentence
_ANSWER_CHARACTERS = 300


class Mailer(Protocol):
    """Something that takes a message and brings it on its way."""

    def send(self, message: EmailMessage) -> None:
        """
        Send one message to the addresses of its To header.

        Raises:
            MailUnavailable: nothing was accepted, the same call may succeed later.
            MailError: the message, a recipient or the login was refused.
        """
        ...


@dataclass(frozen=True, slots=True)
class Outbox:
    """A folder that gets one .eml file a message, named by its Message-ID: the same message again is the same file."""

    folder: Path

    def send(self, message: EmailMessage) -> None:
        """Write the message whole or not at all."""
        if not message["Message-ID"]:
            raise MailError("outbox: found a message without Message-ID; wanted one, it names the file")
        path = self.folder / f"{hashlib.sha256(message['Message-ID'].encode()).hexdigest()[:32]}.eml"
        try:
            self._write(path, message.as_bytes())
        except OSError as error:
            raise MailUnavailable(f"outbox {self.folder}: {path.name} cannot be written: {error.strerror}") from error

    def _write(self, path: Path, content: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=self.folder, suffix=".part", delete=False) as part:
            try:
                part.write(content)
                part.flush()
                os.fsync(part.fileno())
                Path(part.name).replace(path)
            except BaseException:
                Path(part.name).unlink()
                raise


@dataclass(frozen=True, slots=True)
class Server:
    """A mail server, and when the connection to it is encrypted."""

    host: str
    port: int
    encrypted: Literal["never", "starttls", "always"]
    context: ssl.SSLContext
    user: str = ""
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"mail server {self.host}:{self.port}"

    def send(self, message: EmailMessage) -> None:
        """Send over a connection of its own."""
        try:
            with self._session() as session:
                session.send_message(message)
        except OSError as error:  # smtplib's own errors are OSErrors too
            raise _explained(error, str(self)) from error

    @contextmanager
    def _session(self) -> Iterator[smtplib.SMTP]:
        """Connect, encrypt, log in."""
        where = (self.host, self.port)
        if self.encrypted == "always":
            session: smtplib.SMTP = smtplib.SMTP_SSL(*where, timeout=_PATIENCE_SECONDS, context=self.context)
        else:
            session = smtplib.SMTP(*where, timeout=_PATIENCE_SECONDS)
        try:
            if self.encrypted == "starttls":
                self._encrypt(session)
            if self.user:
                session.login(self.user, self.password)
            yield session
        finally:
            # the message is accepted or refused by now: a farewell that fails changes neither
            with suppress(OSError):
                session.quit()
            session.close()

    def _encrypt(self, session: smtplib.SMTP) -> None:
        session.ehlo()
        if not session.has_extn("starttls"):
            raise MailUnavailable(f"{self}: found no STARTTLS; wanted it, nothing is sent unencrypted")
        session.starttls(context=self.context)


def connect(url: str, *, user: str = "", password: str | None = None, ca: Path | None = None) -> Mailer:
    """
    Make the mailer a URL names. Touches neither network nor outbox.

    Args:
        url: file:folder, smtp://host:587?starttls=1 or smtps://host:465.
        user: login at the mail server; empty for none.
        password: its password.
        ca: PEM file of the only certificate authority to trust; the system's where it is None.

    Raises:
        ConfigurationError: with all problems of the URL, the login and the certificate file.
    """
    if url.startswith("file:"):
        return _outbox(url.removeprefix("file:"))
    if "@" in url:
        # nothing of such a URL is repeated: the sentence may end in a log
        raise ConfigurationError([Problem("mail", "a login in the URL", f"{_WANTED}; {_LOGIN}")])
    try:
        parts, port = urlsplit(url), urlsplit(url).port
    except ValueError as error:
        raise ConfigurationError([Problem("mail", f"a URL that cannot be read ({error})", _WANTED)]) from None
    encrypted = _encryption(parts)
    problems = [*_url_problems(parts, port), *_login_problems(user, password, encrypted=encrypted)]
    context, unreadable = _context(ca)
    if problems or unreadable:
        raise ConfigurationError([*problems, *unreadable])
    return Server(parts.hostname or "", port or 0, encrypted, context, user, password or "")


def _outbox(path: str) -> Outbox:
    folder = Path(path)
    if not path or not path.isprintable() or (path.startswith("//") and not path.startswith("///")):
        raise ConfigurationError([Problem("mail", repr(f"file:{path}"), "file: and a relative or an absolute folder")])
    try:
        taken = folder.exists() and not folder.is_dir()
    except OSError as error:
        raise ConfigurationError([Problem("mail", f"{path} ({error.strerror})", "a folder one may write to")]) from None
    if taken:
        raise ConfigurationError([Problem("mail", f"{path}, which is no folder", "a folder, or a name not in use")])
    return Outbox(folder)


def _encryption(parts: SplitResult) -> Literal["never", "starttls", "always"]:
    if parts.scheme == "smtps":
        return "always"
    return "starttls" if parts.query == "starttls=1" else "never"


def _url_problems(parts: SplitResult, port: int | None) -> Iterator[Problem]:
    if parts.scheme not in {"smtp", "smtps"}:
        yield Problem("mail", f"the scheme {parts.scheme!r}", _WANTED)
        return
    if not parts.hostname or not _is_host(parts.hostname):
        yield Problem("mail", f"the host {parts.hostname or ''!r}", "the name or address of a mail server")
    if not port:
        yield Problem("mail", "no port", _WANTED)
    if parts.path not in {"", "/"} or parts.fragment:
        yield Problem("mail", "something after the port", _WANTED)
    if parts.query not in ({"", "starttls=1"} if parts.scheme == "smtp" else {""}):
        yield Problem("mail", "an unknown option", "starttls=1 with smtp:, none with smtps:")


def _is_host(name: str) -> bool:
    try:
        name.encode("idna")
    except UnicodeError:
        return False
    return name.isprintable() and " " not in name


def _login_problems(user: str, password: str | None, *, encrypted: str) -> Iterator[Problem]:
    if bool(user) != (password is not None):
        found = "mail_user without mail_password" if user else "mail_password without mail_user"
        yield Problem("mail", found, "both or none of them")
    if not (user + (password or "")).isascii():
        yield Problem("mail", "a login with characters outside ASCII", "a login in ASCII: SMTP carries no other")
    if user and encrypted == "never":
        wanted = "smtp:// with ?starttls=1, or smtps://: a password never travels unencrypted"
        yield Problem("mail", "a login over an unencrypted connection", wanted)


def _context(ca: Path | None) -> tuple[ssl.SSLContext, list[Problem]]:
    try:
        return ssl.create_default_context(cafile=ca), []
    except OSError as error:
        wanted = "a readable PEM file with the certificate of an authority"
        return ssl.create_default_context(), [Problem("mail_ca", f"{ca} ({error.strerror})", wanted)]


def _explained(error: OSError, server: str) -> MailError:
    """Say in one sentence what a server refused, or why it could not be asked."""
    match error:
        case smtplib.SMTPRecipientsRefused():
            address, (code, words) = next(iter(error.recipients.items()))
            return _answered(code, words, f"{server} refused the recipient {address}")
        case smtplib.SMTPConnectError() | smtplib.SMTPHeloError() | smtplib.SMTPAuthenticationError():
            # a refused login is a fault of the settings, not of the message: what is due stays due until it is mended
            refused = isinstance(error, smtplib.SMTPAuthenticationError)
            what = "refused the login" if refused else "cannot be used now"
            return MailUnavailable(f"{server} {what}: {error.smtp_code} {_line(error.smtp_error)}")
        case smtplib.SMTPResponseException():
            return _answered(error.smtp_code, error.smtp_error, f"{server} refused the message")
        case smtplib.SMTPNotSupportedError():
            return MailError(f"{server} lacks what the message or the login needs: {_line(str(error))}")
        case ssl.SSLCertVerificationError():
            return MailUnavailable(f"{server} has a certificate that is not trusted: {error.verify_message}")
    return MailUnavailable(f"{server} cannot be used now: {_line(error.strerror or str(error))}")


def _answered(code: int, words: bytes | str, what: str) -> MailError:
    sentence = f"{what}: {code} {_line(words)}"
    return MailError(sentence) if code >= _PERMANENT else MailUnavailable(f"{sentence} (it may be tried again)")


def _line(words: bytes | str) -> str:
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    return clean(text)[:_ANSWER_CHARACTERS]
