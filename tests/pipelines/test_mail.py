"""The way out: real SMTP servers on loopback, and a folder."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from email import message_from_bytes, policy
from email.headerregistry import Address
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import ConfigurationError, MailError, MailUnavailable
from pipelines.notify.mail import Outbox, Server, connect

# made once for these tests, valid for a hundred years; the authority's key was thrown away
TLS = Path(__file__).parent / "test_only_tls"
CA = TLS / "ca.pem"
USER, PASSWORD = "notices", "correct horse"


def mail(to: str = "duty@example.org", name: str = "Duty desk") -> EmailMessage:
    message = EmailMessage(policy=policy.SMTP)
    message["From"] = "peakwatch@example.org"
    user, domain = to.rsplit("@", 1)
    message["To"] = Address(name, user, domain)
    message["Subject"] = "超限"
    message["Message-ID"] = "<one@example.org>"
    message.set_content("PUE 1.38\n.\n..\n")
    return message


class Desk:
    """What the server does with what it is told; keeps what it accepted."""

    def __init__(self) -> None:
        self.accepted: list[Envelope] = []
        self.encrypted: list[bool] = []
        self.recipient_answer = "250 OK"
        self.data_answer = "250 OK"

    async def handle_RCPT(self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]) -> str:  # noqa: N802 - the name aiosmtpd calls
        if self.recipient_answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.recipient_answer

    async def handle_DATA(self, server: SMTP, _: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.data_answer.startswith("250"):
            self.accepted.append(envelope)
            self.encrypted.append(server.transport.get_extra_info("sslcontext") is not None)
        return self.data_answer


def login(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=good, handled=good)


def certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.pem")
    return context


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def listening(desk: Desk, **options: Any) -> Iterator[int]:
    controller = Controller(desk, hostname="127.0.0.1", port=free_port(), **options)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def starttls(desk: Desk) -> Iterator[str]:
    """A server that wants STARTTLS and a login."""
    options = {"tls_context": certificate(), "require_starttls": True, "authenticator": login, "auth_required": True}
    with listening(desk, **options) as port:
        yield f"smtp://localhost:{port}?starttls=1"


@pytest.fixture
def plain(desk: Desk) -> Iterator[str]:
    """A server without encryption and login."""
    with listening(desk) as port:
        yield f"smtp://127.0.0.1:{port}"


def test_a_message_arrives_encrypted_after_a_login(desk: Desk, starttls: str) -> None:
    message = mail()
    connect(starttls, user=USER, password=PASSWORD, ca=CA).send(message)
    (envelope,) = desk.accepted
    assert (envelope.mail_from, envelope.rcpt_tos) == ("peakwatch@example.org", ["duty@example.org"])
    assert desk.encrypted == [True]
    assert isinstance(envelope.content, bytes)
    arrived = message_from_bytes(envelope.content, policy=policy.SMTP)
    assert arrived["Subject"] == "超限"
    assert arrived.get_content().splitlines() == message.get_content().splitlines()


def test_a_message_arrives_over_tls_from_the_start(desk: Desk) -> None:
    with listening(desk, ssl_context=certificate(), authenticator=login, auth_require_tls=False) as port:
        connect(f"smtps://localhost:{port}", user=USER, password=PASSWORD, ca=CA).send(mail())
    assert desk.encrypted == [True]


def test_a_message_arrives_without_encryption_where_there_is_no_login(desk: Desk, plain: str) -> None:
    mailer = connect(plain)
    mailer.send(mail())
    mailer.send(mail())
    assert len(desk.accepted) == 2


def test_a_hostile_name_reaches_no_second_recipient(desk: Desk, plain: str) -> None:
    connect(plain).send(mail(name='"duty" <evil@example.org>, evil@example.org'))
    assert [envelope.rcpt_tos for envelope in desk.accepted] == [["duty@example.org"]]


def test_a_wrong_password_is_told_in_the_servers_words_and_gives_up_no_notice(desk: Desk, starttls: str) -> None:
    with pytest.raises(
        MailUnavailable, match=r"^mail server localhost:\d+ refused the login: 535 5\.7\.8 Auth"
    ) as caught:
        connect(starttls, user=USER, password="wrong", ca=CA).send(mail())
    assert caught.value.retryable
    assert "wrong" not in str(caught.value)
    assert desk.accepted == []


def test_a_login_that_the_server_does_not_offer_is_refused(desk: Desk) -> None:
    with listening(desk, ssl_context=certificate()) as port:
        mailer = connect(f"smtps://localhost:{port}", user=USER, password=PASSWORD, ca=CA)
        with pytest.raises(MailError, match="lacks what the message or the login needs: SMTP AUTH"):
            mailer.send(mail())


def test_a_login_of_another_kind_is_tried_again(desk: Desk) -> None:
    with listening(desk, tls_context=certificate(), auth_exclude_mechanism=["LOGIN", "PLAIN"]) as port:
        mailer = connect(f"smtp://localhost:{port}?starttls=1", user=USER, password=PASSWORD, ca=CA)
        with pytest.raises(MailUnavailable, match="cannot be used now: No suitable authentication method"):
            mailer.send(mail())


@pytest.mark.parametrize("stage", ["recipient_answer", "data_answer"])
@pytest.mark.parametrize(
    ("answer", "error"),
    [("550 5.1.1 No such person here", MailError), ("451 4.3.0 Come back later", MailUnavailable)],
)
def test_what_the_server_answers_decides_whether_to_try_again(
    desk: Desk, plain: str, stage: str, answer: str, error: type[MailError]
) -> None:
    setattr(desk, stage, answer)
    with pytest.raises(MailError) as caught:
        connect(plain).send(mail())
    what = {"recipient_answer": "the recipient duty@example.org", "data_answer": "the message"}[stage]
    assert type(caught.value) is error
    assert f"refused {what}: {answer}" in str(caught.value)
    assert desk.accepted == []


def test_an_answer_is_shown_without_control_characters(desk: Desk, plain: str) -> None:
    desk.data_answer = "550 \x1b[31mred\x07 " + "long " * 200
    with pytest.raises(MailError, match=r"550 \[31mred long") as caught:
        connect(plain).send(mail())
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_an_address_outside_ascii_is_refused_where_the_server_cannot_carry_it(desk: Desk) -> None:
    with listening(desk, enable_SMTPUTF8=False) as port, pytest.raises(MailError, match="SMTPUTF8") as caught:
        connect(f"smtp://127.0.0.1:{port}").send(mail(to="值班@example.org"))
    assert not caught.value.retryable


def test_a_server_that_is_down_is_tried_again() -> None:
    port = free_port()
    with pytest.raises(MailUnavailable, match=f"^mail server 127.0.0.1:{port} cannot be used now: Connection refused$"):
        connect(f"smtp://127.0.0.1:{port}").send(mail())


def test_a_host_nobody_knows_is_tried_again() -> None:
    with pytest.raises(MailUnavailable, match=r"mail server nowhere\.invalid:25 cannot be used now: "):
        connect("smtp://nowhere.invalid:25").send(mail())


def greeting(words: bytes) -> AbstractContextManager[int]:
    """A server that greets and hangs up."""

    @contextmanager
    def serve() -> Iterator[int]:
        with socket.create_server(("127.0.0.1", 0)) as server:

            def greet() -> None:
                connection, _ = server.accept()
                with connection:
                    connection.sendall(words)

            thread = threading.Thread(target=greet)
            thread.start()
            yield int(server.getsockname()[1])
            thread.join()

    return serve()


@pytest.mark.parametrize("words", [b"", b"554 no service here\r\n", b"421 busy\r\n", b"\xff\xfe nonsense\r\n"])
def test_a_server_that_takes_no_mail_now_is_tried_again(words: bytes) -> None:
    with greeting(words) as port, pytest.raises(MailUnavailable, match=f"mail server 127.0.0.1:{port} "):
        connect(f"smtp://127.0.0.1:{port}").send(mail())


def test_a_failing_farewell_does_not_undo_a_sent_message(desk: Desk) -> None:
    class Rude(SMTP):
        async def smtp_QUIT(self, _: str) -> None:  # noqa: N802
            self.transport.abort()

    class RudeController(Controller):
        def factory(self) -> SMTP:
            return Rude(self.handler)

    controller = RudeController(desk, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        connect(f"smtp://127.0.0.1:{controller.port}").send(mail())
    finally:
        controller.stop()
    assert len(desk.accepted) == 1


def test_a_certificate_of_a_stranger_is_refused(desk: Desk, starttls: str) -> None:
    with pytest.raises(MailUnavailable, match="has a certificate that is not trusted: "):
        connect(starttls, user=USER, password=PASSWORD).send(mail())
    assert desk.accepted == []


def test_a_certificate_of_another_host_is_refused(desk: Desk) -> None:
    with listening(desk, ssl_context=certificate()) as port:
        mailer = connect(f"smtps://127.0.0.2:{port}", ca=CA)
        # 127.0.0.2 is loopback as well, but the certificate does not name it
        server = Controller(desk, hostname="127.0.0.2", port=port, ssl_context=certificate())
        server.start()
        try:
            with pytest.raises(MailUnavailable, match="has a certificate that is not trusted: IP address mismatch"):
                mailer.send(mail())
        finally:
            server.stop()
    assert desk.accepted == []


def test_nothing_is_sent_where_starttls_was_taken_away(desk: Desk, plain: str) -> None:
    with pytest.raises(MailUnavailable, match="found no STARTTLS; wanted it, nothing is sent unencrypted"):
        connect(f"{plain}?starttls=1").send(mail())
    assert desk.accepted == []


def test_tls_asked_of_a_server_without_it_is_tried_again(plain: str) -> None:
    with pytest.raises(MailUnavailable, match="cannot be used now: "):
        connect(plain.replace("smtp:", "smtps:")).send(mail())


def test_the_outbox_keeps_one_file_a_message(tmp_path: Path) -> None:
    mailer = connect(f"file:{tmp_path}/new/outbox")
    message = mail()
    mailer.send(message)
    mailer.send(message)
    (file,) = (tmp_path / "new/outbox").iterdir()
    assert file.suffix == ".eml"
    assert message_from_bytes(file.read_bytes(), policy=policy.SMTP)["Message-ID"] == "<one@example.org>"


@pytest.mark.parametrize("hostile", ["<../../evil@x>", "</etc/passwd>", "<" + "a" * 5000 + ">"])
def test_a_hostile_message_id_names_no_other_file(tmp_path: Path, hostile: str) -> None:
    message = mail()
    message.replace_header("Message-ID", hostile)
    Outbox(tmp_path / "outbox").send(message)
    assert [path.name for path in tmp_path.iterdir()] == ["outbox"]
    assert [path.suffix for path in (tmp_path / "outbox").iterdir()] == [".eml"]


def test_a_message_without_an_id_is_refused(tmp_path: Path) -> None:
    message = mail()
    del message["Message-ID"]
    with pytest.raises(MailError, match="found a message without Message-ID"):
        Outbox(tmp_path).send(message)


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    Outbox(tmp_path).send(mail())
    (file,) = tmp_path.iterdir()
    file.unlink()
    file.mkdir()
    with pytest.raises(MailUnavailable, match="cannot be written: Is a directory"):
        Outbox(tmp_path).send(mail())
    assert list(tmp_path.iterdir()) == [file]


def test_an_outbox_below_a_file_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MailUnavailable, match="Not a directory"):
        connect(f"file:{tmp_path}/file/outbox").send(mail())


def test_an_outbox_path_is_relative_or_absolute() -> None:
    assert connect("file:./outbox") == Outbox(Path("outbox"))
    assert connect("file:/srv/outbox") == connect("file:///srv/outbox") == Outbox(Path("/srv/outbox"))


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("", "the scheme ''"),
        ("mail.example.org:587", "the scheme 'mail.example.org'"),
        ("http://example.org:80", "the scheme 'http'"),
        ("smtp://example.org", "no port"),
        ("smtp://example.org:0", "no port"),
        ("smtp://:25", "the host ''"),
        ("smtp://a..b:25", "the host 'a..b'"),
        ("smtp://a\x00b:25", r"the host 'a\\x00b'"),
        ("smtp://example.org:99999", "a URL that cannot be read"),
        ("smtp://[::1:25", "a URL that cannot be read"),
        ("smtp://example.org:25/path", "something after the port"),
        ("smtp://example.org:25#part", "something after the port"),
        ("smtp://example.org:25?starttls=0", "an unknown option"),
        ("smtps://example.org:465?starttls=1", "an unknown option"),
        ("file:", "'file:'"),
        ("file://host/outbox", "'file://host/outbox'"),
        ("file:a\x00b", "'file:a"),
        ("file:" + "a" * 300, "aaa"),
    ],
)
def test_a_wrong_url_is_told(url: str, found: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        connect(url)
    (problem,) = caught.value.problems
    assert problem.where == "mail"
    assert problem.found.startswith(found.replace("\\\\", "\\"))
    assert problem.wanted


def test_all_problems_are_told_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        connect("smtp://:99?x=1", user="päul", ca=tmp_path / "none.pem")
    assert [(problem.where, problem.found.split(" (")[0]) for problem in caught.value.problems] == [
        ("mail", "the host ''"),
        ("mail", "an unknown option"),
        ("mail", "mail_user without mail_password"),
        ("mail", "a login with characters outside ASCII"),
        ("mail", "a login over an unencrypted connection"),
        ("mail_ca", str(tmp_path / "none.pem")),
    ]


def test_a_file_that_is_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="which is no folder; wanted a folder"):
        connect(f"file:{tmp_path}/file")


@pytest.mark.parametrize("url", ["smtp://u:hunter2@h:25", "u:hunter2@h", "smtp:u:hunter2@h", "smtp://[u:hunter2@h:25"])
def test_a_login_in_the_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"found a login in the URL; wanted .*PEAKWATCH_MAIL_PASSWORD"
    ) as caught:
        connect(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("host", ["mail.example.org", "127.0.0.1", "localhost", "[::1]"])
def test_a_password_never_travels_unencrypted(host: str) -> None:
    with pytest.raises(ConfigurationError, match="found a login over an unencrypted connection"):
        connect(f"smtp://{host}:25", user=USER, password=PASSWORD)


def test_a_file_that_is_no_certificate_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigurationError, match=r"mail_ca: found .*; wanted a readable PEM file"):
        connect("smtps://h:465", ca=tmp_path / "ca.pem")


def test_a_password_is_not_shown() -> None:
    assert PASSWORD not in repr(connect("smtps://h:465", user=USER, password=PASSWORD))


schemes = st.sampled_from(["", "file:", "smtp://", "smtps://", "smtp://[", "smtp://host:25"])
anything = st.text(st.characters(exclude_categories=[]))


@given(st.builds("{}{}".format, schemes, anything))
def test_any_url_makes_a_mailer_or_a_sentence(url: str) -> None:
    try:
        made = connect(url)
    except ConfigurationError:
        return
    assert isinstance(made, Outbox | Server)
