"""The secrets of the stack: made once, for their owner alone, never shown; certificates as RFC 5280 has them."""

import os
import re
import shutil
import ssl
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from ingest.errors import ConfigurationError
from pipelines import cli
from pipelines.credentials import certificates, devices, files, passwords, stack

SAMPLES = Path(__file__).parents[2] / "deploy" / "registry"
NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
FACILITIES = ("dc-sample", "mill")

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    stack.make(tmp_path / "secrets", ("broker.example.org", "10.1.2.3", "fd00::1"), NOW)
    return tmp_path / "secrets"


@pytest.fixture
def peakwatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command in a folder with the sample registry; gives exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SAMPLES, tmp_path / "registry")

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["peakwatch", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def certificate(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())


def test_everything_is_for_its_owner_alone(secrets: Path) -> None:
    devices.add_certificate(secrets, "mill", NOW, facilities=FACILITIES)
    for path in (secrets, *secrets.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_a_second_run_keeps_every_byte_and_adds_what_is_missing(secrets: Path) -> None:
    before = content(secrets)
    assert not any(one.made for one in stack.make(secrets, (), NOW + timedelta(days=1)))
    assert content(secrets) == before
    (secrets / "grafana" / "admin_password").unlink()
    made = [one.path.name for one in stack.make(secrets, (), NOW) if one.made]
    assert made == ["admin_password"]
    after = content(secrets)
    assert after.pop("grafana/admin_password") != before.pop("grafana/admin_password")
    assert after == before


def test_two_runs_elsewhere_share_no_secret(secrets: Path, tmp_path: Path) -> None:
    stack.make(tmp_path / "other", (), NOW)
    mine, other = content(secrets), content(tmp_path / "other")
    assert mine.keys() == other.keys()
    # the one that nobody can draw is empty in both
    assert [mine[name] for name in mine if mine[name] == other[name]] == [b""]
    assert not set(mine.values()) & set(other.values()) - {b""}


@pytest.mark.parametrize("server", ["mosquitto", "influxdb", "grafana"])
def test_a_server_is_trusted_under_its_names_and_no_other(secrets: Path, server: str) -> None:
    authority = Store([certificate(secrets / "authority" / "certificate.pem")])
    one = certificate(secrets / server / "certificate.pem")
    builder = PolicyBuilder().store(authority)
    for name in (server, "localhost", "broker.example.org"):
        builder.time(NOW).build_server_verifier(x509.DNSName(name)).verify(one, [])
    with pytest.raises(VerificationError):
        builder.time(NOW).build_server_verifier(x509.DNSName("example.org")).verify(one, [])
    for at in (NOW - timedelta(days=1), NOW + timedelta(days=826)):
        with pytest.raises(VerificationError):
            builder.time(at).build_server_verifier(x509.DNSName(server)).verify(one, [])
    assert certificates.hosts(one) == {
        server, "localhost", "127.0.0.1", "broker.example.org", "10.1.2.3", "fd00::1",
    }  # fmt: skip


def test_the_authority_is_what_the_law_of_certificates_asks(secrets: Path) -> None:
    root, leaf = (certificate(secrets / place / "certificate.pem") for place in ("authority", "mosquitto"))
    basic = root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    assert root.not_valid_after_utc - root.not_valid_before_utc == timedelta(days=3650)
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(days=825)
    for one in (root, leaf):
        key = one.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.curve.name == "secp256r1"
    leaf.verify_directly_issued_by(root)
    assert not any(b"PRIVATE" in text for name, text in content(secrets).items() if not name.endswith("key.pem"))


def test_nothing_is_valid_longer_than_the_authority(secrets: Path) -> None:
    late = NOW + timedelta(days=3600)
    place = devices.add_certificate(secrets, "mill", late, facilities=FACILITIES)
    end = certificate(secrets / "authority" / "certificate.pem").not_valid_after_utc
    assert certificate(place / "certificate.pem").not_valid_after_utc == end


def test_a_device_is_its_facility_and_no_server(secrets: Path) -> None:
    place = devices.add_certificate(secrets, "mill", NOW, facilities=FACILITIES)
    one = certificate(place / "certificate.pem")
    assert [name.value for name in one.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["mill"]
    usage = one.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.ExtendedKeyUsageOID.CLIENT_AUTH]
    ssl.create_default_context().load_cert_chain(place / "certificate.pem", place / "key.pem")  # the key is its own


def test_all_certificates_of_a_facility_are_revoked_and_no_other(secrets: Path) -> None:
    mine = {devices.add_certificate(secrets, "mill", NOW, facilities=FACILITIES) for _ in range(3)}
    devices.add_certificate(secrets, "dc-sample", NOW, facilities=FACILITIES)
    devices.add_password(secrets, "mill", facilities=FACILITIES)
    devices.add_password(secrets, "dc-sample", facilities=FACILITIES)
    devices.revoke(secrets, "mill", NOW)
    crl = x509.load_pem_x509_crl((secrets / "mosquitto" / "revoked.pem").read_bytes())
    assert {entry.serial_number for entry in crl} == {int(place.name, 16) for place in mine}
    authority = certificate(secrets / "authority" / "certificate.pem")
    assert crl.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
    assert crl.next_update_utc == authority.not_valid_after_utc
    assert passwords.load(secrets / "mosquitto" / "passwords").keys() == {"collector", "dc-sample"}
    assert not any(place.exists() for place in mine)
    left = {
        one.facility: (one.password, [revoked for *_, revoked in one.certificates]) for one in devices.listed(secrets)
    }
    assert left == {"dc-sample": (True, [False]), "mill": (False, [True, True, True])}
    # those of an earlier list stay on the next one
    devices.revoke(secrets, "dc-sample", NOW + timedelta(days=1))
    assert len(certificates.serials((secrets / "mosquitto" / "revoked.pem").read_text())) == 4


def test_a_hash_is_no_password(secrets: Path) -> None:
    password = devices.add_password(secrets, "mill", facilities=FACILITIES)
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", password)
    assert not any(password.encode() in text for text in content(secrets).values())
    hash_ = passwords.load(secrets / "mosquitto" / "passwords")["mill"]
    assert passwords.matches(password, hash_)
    assert not passwords.matches(password[:-1], hash_)
    assert passwords.hashed(password) != passwords.hashed(password)  # a salt of its own


def test_the_collector_gets_in_with_a_new_password_and_the_devices_stay(secrets: Path) -> None:
    password = devices.add_password(secrets, "mill", facilities=FACILITIES)
    (secrets / "peakwatch" / "broker_password").unlink()
    stack.make(secrets, (), NOW)
    users = passwords.load(secrets / "mosquitto" / "passwords")
    assert passwords.matches((secrets / "peakwatch" / "broker_password").read_text(), users["collector"])
    assert passwords.matches(password, users["mill"])


def test_what_others_can_use_is_told(secrets: Path) -> None:
    (secrets / "mosquitto" / "key.pem").chmod(0o644)
    with pytest.raises(ConfigurationError, match=r"mosquitto/key\.pem: found mode 644.*chmod 600"):
        stack.make(secrets, (), NOW)
    secrets.chmod(0o755)
    with pytest.raises(ConfigurationError, match=r"secrets: found mode 755.*chmod 700"):
        stack.make(secrets, (), NOW)


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("authority/key.pem", None, r"authority: found certificate\.pem alone"),
        ("authority/key.pem", "hunter2", "authority: found something else; wanted a certificate and the EC key"),
        ("grafana/certificate.pem", None, r"grafana: found key\.pem alone"),
        ("grafana/certificate.pem", "hunter2", "no certificate of a server"),
        ("mosquitto/passwords", "hunter2\n", "line 1: found something else"),
    ],
)
def test_a_broken_folder_is_told_and_nothing_is_written_over(
    secrets: Path, file: str, text: str | None, complaint: str
) -> None:
    path = secrets / file
    path.unlink() if text is None else files.write(path, text)
    before = content(secrets)
    with pytest.raises(ConfigurationError, match=complaint) as raised:
        stack.make(secrets, (), NOW)
    assert "hunter2" not in str(raised.value)
    assert content(secrets) == before


def test_a_record_that_is_no_certificate_is_told(secrets: Path) -> None:
    devices.add_certificate(secrets, "mill", NOW, facilities=FACILITIES)
    (file,) = (secrets / "authority" / "issued").iterdir()
    files.write(file, "hunter2")
    with pytest.raises(ConfigurationError, match=f"{file}: found something else; wanted a certificate"):
        devices.listed(secrets)


def test_a_hash_that_is_none_matches_nothing() -> None:
    assert not passwords.matches("secret", "$7$101$a$b")
    assert not passwords.matches("secret", "$7$0$AAAA$AAAA")


def test_a_server_under_a_new_name_or_near_its_end_says_what_to_do(secrets: Path) -> None:
    notes = {one.path: one.note for one in stack.make(secrets, ("new.example.org",), NOW)}
    assert "not for new.example.org; remove it" in notes[secrets / "mosquitto" / "certificate.pem"]
    late = {one.path: one.note for one in stack.make(secrets, (), NOW + timedelta(days=800))}
    assert "valid until 2029-02-22; remove it" in late[secrets / "mosquitto" / "certificate.pem"]


def test_a_write_that_fails_leaves_the_old_file(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(secrets)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigurationError, match="No space left"):
        devices.add_password(secrets, "mill", facilities=FACILITIES)
    assert content(secrets) == before


# ----- the commands


def test_no_secret_is_shown_or_said(peakwatch: Call, tmp_path: Path) -> None:
    said = "".join(
        "".join(peakwatch(*call)[1:])
        for call in (
            ("init", "--host", "broker.example.org"),
            ("init",),
            ("device", "add", "dc-sample"),
            ("device", "add", "dc-sample", "--certificate"),
            ("device", "add", "dc-sample"),
            ("device", "list"),
        )
    )
    kept = content(tmp_path / "secrets")
    kept.pop("grafana/smtp_password")  # empty: of the mail server
    known = [text.decode() for name, text in kept.items() if "certificate" not in name and "authority.pem" not in name]
    assert len(known) > 10
    assert "dc-sample: a password" in said
    assert [text for text in known if text in said] == []
    # of the keys, not one line of base64
    assert [line for text in known for line in text.splitlines() if len(line) > 20 and line in said] == []


def test_a_password_is_shown_once_when_asked_for(peakwatch: Call, tmp_path: Path) -> None:
    peakwatch("init")
    code, said, _ = peakwatch("device", "add", "dc-sample", "--show")
    assert code == 0
    (password,) = said.splitlines()
    assert passwords.matches(password, passwords.load(tmp_path / "secrets/mosquitto/passwords")["dc-sample"])
    assert not any(password.encode() in text for text in content(tmp_path / "secrets").values())


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (("device", "add", "nobody"), "device: found 'nobody'; wanted one of ceramics-sample"),
        (("device", "add", "../../etc"), "device: found '../../etc'"),
        (("device", "revoke", "dc-sample"), "device: found 'dc-sample'; wanted one of `peakwatch device list`"),
        (("device", "revoke", "collector"), "device: found 'collector'"),
        (("device", "add", "dc-sample", "--certificate", "--show"), "--show: found it together with --certificate"),
        (("device", "list", "--folder", "none"), "none: found no mosquitto/passwords; wanted a folder made by"),
        (("init", "--host", "a b"), "--host: found 'a b'; wanted a host name"),
        (("init", "--folder", "registry/dc-sample.toml"), "registry/dc-sample.toml: found"),
    ],
)
def test_a_wrong_call_is_one_sentence(peakwatch: Call, call: tuple[str, ...], complaint: str) -> None:
    peakwatch("init")
    code, _, complaints = peakwatch(*call)
    assert code == 2
    assert complaint in complaints
    assert len(complaints.splitlines()) == 1


def test_a_facility_named_collector_gets_nothing(secrets: Path) -> None:
    known = ("collector", "mill")
    with pytest.raises(ConfigurationError, match="wanted another id"):
        devices.add_certificate(secrets, "collector", NOW, facilities=known)
    with pytest.raises(ConfigurationError, match="wanted another id"):
        devices.add_password(secrets, "collector", facilities=known)
