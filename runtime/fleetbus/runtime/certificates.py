"""Certificates and keys of a fleet and of local clusters: an authority, what it issues, token signing keys.

Pure but for the chance in keys and serial numbers. Everything is PEM bytes; writing files is the caller's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleetbus.schemas.errors import SettingsInvalid

# Clocks of peers differ; a certificate is valid a little before it is made.
_EARLIER = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its private key, both PEM (the key PKCS#8, unencrypted)."""

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key pair that signs ServiceAccount tokens, both halves PEM."""

    public: bytes
    private: bytes = field(repr=False)


def make_authority(
    common_name: str, now: datetime, *, valid_days: int = 3650, path_length: int = 0
) -> Issued:
    """A self-signed authority on ECDSA P-256 that signs end certificates, and one that follows it if `path_length`
    is 1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = _authority(key.public_key(), path_length).subject_name(name).issuer_name(name)
    return Issued(
        _pem(_valid(builder, now, timedelta(days=valid_days)).sign(key, hashes.SHA256())), _private_pem(key)
    )


def split(certificates: bytes) -> tuple[bytes, ...]:
    """Each certificate of a PEM file, in its order. Raises SettingsInvalid for other bytes."""
    try:
        return tuple(_pem(one) for one in x509.load_pem_x509_certificates(certificates))
    except ValueError as cause:
        raise SettingsInvalid("these bytes are no PEM certificates") from cause


def may_be_followed(authority: bytes) -> bool:
    """Whether a PEM authority may sign the one that comes after it."""
    found = _load(authority).extensions.get_extension_for_class(x509.BasicConstraints).value
    return found.ca and (found.path_length is None or found.path_length > 0)


def cross_sign(authority: Issued, following: bytes, now: datetime) -> bytes:
    """The authority `following`, PEM, as `authority` vouches for it and as long as that lasts.

    Whoever knows `authority` alone believes what the other one has issued, if it comes with this.
    """
    issuer, subject = _load(authority.certificate), _load(following)
    signer = _signer(authority)
    key = subject.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise SettingsInvalid("the authority that follows has no ECDSA key")
    builder = (
        _authority(key, 0)
        .subject_name(subject.subject)
        .issuer_name(issuer.subject)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(min(issuer.not_valid_after_utc, subject.not_valid_after_utc))
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    return _pem(builder.sign(signer, hashes.SHA256()))


def is_issued_by(certificate: bytes, authority: bytes) -> bool:
    """Whether a PEM certificate is signed by the key of a PEM authority."""
    try:
        _load(certificate).verify_directly_issued_by(_load(authority))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def issue_server(
    authority: Issued, common_name: str, hosts: Sequence[str], now: datetime, *, valid_days: int = 365
) -> Issued:
    """A certificate for a server; `hosts` are its DNS names and IP addresses."""
    return _issue(authority, common_name, (), hosts, now, valid_days, (ExtendedKeyUsageOID.SERVER_AUTH,))


def issue_client(
    authority: Issued,
    common_name: str,
    now: datetime,
    *,
    organizations: Sequence[str] = (),
    valid_days: int = 365,
) -> Issued:
    """A certificate for a client; Kubernetes reads the common name as user, `organizations` as its groups."""
    usage = (ExtendedKeyUsageOID.CLIENT_AUTH,)
    return _issue(authority, common_name, organizations, (), now, valid_days, usage)


def issue_peer(
    authority: Issued, common_name: str, hosts: Sequence[str], now: datetime, *, valid_days: int = 365
) -> Issued:
    """A certificate for both ends of a connection, as the members of a cluster of servers need it."""
    usage = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
    return _issue(authority, common_name, (), hosts, now, valid_days, usage)


def issue_for_key(
    authority: Issued, common_name: str, key: bytes, now: datetime, *, valid_for: timedelta
) -> bytes:
    """A client's certificate for an Ed25519 key that its owner alone has: `key` is its public half, 32 bytes."""
    public = ed25519.Ed25519PublicKey.from_public_bytes(key)
    usage = (ExtendedKeyUsageOID.CLIENT_AUTH,)
    return _pem(_certificate(authority, public, common_name, (), (), now, valid_for, usage))


def make_signing_key(kind: Literal["rsa", "ecdsa"] = "rsa") -> SigningKey:
    """A key pair for ServiceAccount tokens: RSA 2048 (RS256, as most clusters have) or P-256 (ES256)."""
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    if kind == "rsa":
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return SigningKey(public, _private_pem(key))


def is_for_key(certificate: bytes, key: bytes) -> bool:
    """Whether a PEM certificate is for this Ed25519 key. Raises SettingsInvalid for other bytes."""
    public = _load(certificate).public_key()
    return isinstance(public, ed25519.Ed25519PublicKey) and public.public_bytes_raw() == key


def fits(issued: Issued) -> bool:
    """Whether the certificate can be read, and is of this private key."""
    try:
        certificate, key = _load(issued.certificate), serialization.load_pem_private_key(issued.key, None)
    except (SettingsInvalid, ValueError, TypeError):
        return False
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return certificate.public_key().public_bytes(*form) == key.public_key().public_bytes(*form)


def expires_at(certificate: bytes) -> datetime:
    """The end of a PEM certificate's validity, aware, UTC. Raises SettingsInvalid for other bytes."""
    return _load(certificate).not_valid_after_utc


def _issue(
    authority: Issued,
    common_name: str,
    organizations: Sequence[str],
    hosts: Sequence[str],
    now: datetime,
    valid_days: int,
    usage: Sequence[x509.ObjectIdentifier],
) -> Issued:
    key = ec.generate_private_key(ec.SECP256R1())
    valid_for = timedelta(days=valid_days)
    made = _certificate(authority, key.public_key(), common_name, organizations, hosts, now, valid_for, usage)
    return Issued(_pem(made), _private_pem(key))


def _certificate(
    authority: Issued,
    public: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey,
    common_name: str,
    organizations: Sequence[str],
    hosts: Sequence[str],
    now: datetime,
    valid_for: timedelta,
    usage: Sequence[x509.ObjectIdentifier],
) -> x509.Certificate:
    issuer, signer = _load(authority.certificate), _signer(authority)
    groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in organizations]
    builder = (
        _valid(x509.CertificateBuilder(), now, valid_for)
        .subject_name(x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(issuer.subject)
        .public_key(public)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if hosts:
        names = x509.SubjectAlternativeName([_host(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(signer, hashes.SHA256())


def _signer(authority: Issued) -> ec.EllipticCurvePrivateKey:
    signer = serialization.load_pem_private_key(authority.key, password=None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise SettingsInvalid("the authority's key is no ECDSA key", remedy="make the authority again")
    return signer


def _authority(key: ec.EllipticCurvePublicKey, path_length: int) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .public_key(key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _valid(builder: x509.CertificateBuilder, now: datetime, valid_for: timedelta) -> x509.CertificateBuilder:
    return (
        builder.serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + valid_for)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _load(certificate: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(certificate)
    except ValueError as cause:
        raise SettingsInvalid("these bytes are no PEM certificate") from cause


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
