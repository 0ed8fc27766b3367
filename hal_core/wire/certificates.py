"""Keys and certificates as bytes: made with the `cryptography` package, never by hand. Knows nothing of files.

One authority for each cluster. A certificate is either the daemon's (DNS name `hal-daemon`, for servers) or a node's
(URI `hal-node:NAME`, for clients, and for servers of other nodes): whoever dials compares the name, so that neither can
pass for the other.
"""

from __future__ import annotations

import datetime
from typing import Final

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hal_core.errors import Refused
from hal_core.wire.tls import DAEMON_NAME, NODE_SCHEME

AUTHORITY_LIFE_S: Final = 3650 * 86_400.0
DAEMON_LIFE_S: Final = 365 * 86_400.0
NODE_LIFE_S: Final = 90 * 86_400.0
NODE_USAGES: Final = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)
DAEMON_USAGES: Final = (ExtendedKeyUsageOID.SERVER_AUTH,)
SKEW_S: Final = 2 * 86_400.0
"""A node whose clock is wrong by a day must not be locked out: certificates are valid from some time before."""


@attrs.frozen
class Signer:
    """The authority's certificate and key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def load(cls, certificate_pem: bytes, key_pem: bytes) -> Signer:
        key = serialization.load_pem_private_key(key_pem, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return cls(x509.load_pem_x509_certificate(certificate_pem), key)

    def sign_node(self, request_pem: bytes, node: str, now_s: float) -> Issued:
        """A certificate for whoever holds the request's key, as that node. What else the request says is ignored."""
        try:
            request = x509.load_pem_x509_csr(request_pem)
            is_signed = request.is_signature_valid
            public = request.public_key()
        except (ValueError, InvalidSignature, UnsupportedAlgorithm) as error:
            raise Refused(f"not a certificate request: {error}") from None
        if not is_signed or not isinstance(public, ec.EllipticCurvePublicKey):
            raise Refused("the certificate request is not signed with its own key")
        name = x509.UniformResourceIdentifier(NODE_SCHEME + node)
        return self._sign(public, (node, name), NODE_USAGES, (now_s, NODE_LIFE_S))

    def sign_daemon(self, key_pem: bytes, now_s: float) -> Issued:
        public = _load_key(key_pem).public_key()
        names = (DAEMON_NAME, x509.DNSName(DAEMON_NAME))
        return self._sign(public, names, DAEMON_USAGES, (now_s, DAEMON_LIFE_S))

    def _sign(
        self,
        public: ec.EllipticCurvePublicKey,
        names: tuple[str, x509.GeneralName],
        usages: tuple[x509.ObjectIdentifier, ...],
        life_s: tuple[float, float],
    ) -> Issued:
        now_s, length_s = life_s
        expiry = _time(now_s + length_s)
        subject, alternative = names
        signed = (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(self.certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_time(now_s - SKEW_S))
            .not_valid_after(expiry)
            .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return Issued(signed.public_bytes(serialization.Encoding.PEM), signed.serial_number, expiry.timestamp())


@attrs.frozen
class Issued:
    """A signed certificate."""

    pem: bytes
    serial: int
    expiry_s: float


def make_key() -> bytes:
    """A new private key as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def make_authority(cluster: str, key_pem: bytes, now_s: float) -> bytes:
    """The self-signed certificate of a cluster's authority, as PEM."""
    key = _load_key(key_pem)
    name = _name(f"HAL {cluster}"[:64])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_time(now_s - SKEW_S))
        .not_valid_after(_time(now_s + AUTHORITY_LIFE_S))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return signed.public_bytes(serialization.Encoding.PEM)


def make_request(key_pem: bytes, node: str) -> bytes:
    """A certificate request for the key, as PEM."""
    request = (
        x509.CertificateSigningRequestBuilder().subject_name(_name(node)).sign(_load_key(key_pem), hashes.SHA256())
    )
    return request.public_bytes(serialization.Encoding.PEM)


def life_of(certificate_pem: bytes) -> tuple[float, float]:
    """(from, until), in seconds since the epoch."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()


def is_due(certificate_pem: bytes, now_s: float) -> bool:
    """Whether two thirds of its life are over: time for another one."""
    start_s, end_s = life_of(certificate_pem)
    return now_s > start_s + (end_s - start_s) * 2 / 3


def can_lend(certificate_pem: bytes) -> bool:
    """Whether a node can show it to other nodes that dial it. Those of older versions are for dialling only."""
    extensions = x509.load_pem_x509_certificate(certificate_pem).extensions
    return ExtendedKeyUsageOID.SERVER_AUTH in extensions.get_extension_for_class(x509.ExtendedKeyUsage).value


def _load_key(key_pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(key_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _time(time_s: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(int(time_s), datetime.UTC)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
