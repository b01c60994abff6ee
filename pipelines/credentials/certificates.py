"""
A private certificate authority: certificates for servers and devices, and the list of those that are revoked.

Keys are EC P-256, signatures ECDSA with SHA-256, profiles those of RFC 5280. The authority lasts 10 years; what it
signs 825 days, or as long as it does itself. It signs no further authority.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3650
SERVED_DAYS = 825
# clocks of devices are not exact: what was signed a moment ago is valid for them already
_SKEW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, both PEM."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class Authority:
    """What signs."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def load(cls, pair: Pair) -> Self:
        """
        Read an authority.

        Raises:
            ValueError: the texts are no certificate of an authority with its EC key.
        """
        certificate, key = x509.load_pem_x509_certificate(pair.certificate.encode()), _key(pair.key)
        if certificate.public_key() != key.public_key():
            raise ValueError("the key of another certificate")
        return cls(certificate, key)

    def server(self, hosts: Sequence[str], at: datetime) -> Pair:
        """Make certificate and key of a server; `hosts` are its names and addresses, the first is shown as its name."""
        named = x509.SubjectAlternativeName([_general(host) for host in hosts])
        return self._signed(hosts[0], ExtendedKeyUsageOID.SERVER_AUTH, at, names=named)

    def device(self, facility: str, at: datetime) -> Pair:
        """Make certificate and key of a device; the broker takes the common name as the user."""
        return self._signed(facility, ExtendedKeyUsageOID.CLIENT_AUTH, at)

    def revoked(self, serials: Iterable[int], at: datetime) -> str:
        """
        Write the list of revoked certificates (RFC 5280, section 5), PEM.

        It stays valid as long as the authority: the broker would let nobody in under a list that has run out, and the
        file beside it is always the newest there is.
        """
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(at - _SKEW)
            .next_update(self.certificate.not_valid_after_utc)
            .add_extension(x509.CRLNumber(int(at.timestamp())), critical=False)
        )
        for serial in sorted(serials):
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at - _SKEW).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()

    def _signed(
        self, name: str, usage: x509.ObjectIdentifier, at: datetime, *, names: x509.SubjectAlternativeName | None = None
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        end = min(at - _SKEW + timedelta(days=SERVED_DAYS), self.certificate.not_valid_after_utc)
        authority = self.key.public_key()
        builder = (
            _builder(_name(name), self.certificate.subject, key, at, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority), critical=False)
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return _pair(builder.sign(self.key, hashes.SHA256()), key)


def authority(at: datetime) -> Pair:
    """Make a new authority: its certificate, which names itself as issuer, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    # each is told from every other: a client that knows two of them must not take one for the other
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = _name(f"PeakWatch authority {identifier.digest.hex()[:8]}")
    builder = (
        _builder(name, name, key, at, at - _SKEW + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=False), critical=True)
    )
    return _pair(builder.sign(key, hashes.SHA256()), key)


def hosts(certificate: x509.Certificate) -> set[str]:
    """Return the names and addresses a server's certificate is for."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))}


def serials(revoked: str) -> set[int]:
    """
    Return the serial numbers on a list of revoked certificates.

    Raises:
        ValueError: the text is no such list.
    """
    return {entry.serial_number for entry in x509.load_pem_x509_crl(revoked.encode())}


def loaded(certificate: str) -> x509.Certificate:
    """
    Read a certificate.

    Raises:
        ValueError: the text is none.
    """
    return x509.load_pem_x509_certificate(certificate.encode())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, at: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - _SKEW)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    """Signs handshakes, or certificates and lists of revoked ones."""
    return x509.KeyUsage(
        digital_signature=signs,
        key_cert_sign=not signs,
        crl_sign=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key(pem: str) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("a key of another kind")  # noqa: TRY004 - of a file, not of the caller
    return key


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Pair(certificate.public_bytes(Encoding.PEM).decode(), private.decode())
