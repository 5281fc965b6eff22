"""Signature version 4, written from AWS's public description and independent of botocore.

It signs exactly the bytes it is given, so that a test can also sign what no SDK would send.
"""

import datetime
import hashlib
import hmac
import urllib.parse
from dataclasses import dataclass, field

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
UNSIGNED = "UNSIGNED-PAYLOAD"
STREAMING = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
STREAMING_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


def quote(text: str | bytes) -> str:
    """AWS's UriEncode, with the slash encoded as well."""
    return urllib.parse.quote(text, safe="-_.~")


def key_path(bucket: str, key: str) -> str:
    """The canonical request path of an object."""
    return f"/{bucket}/{urllib.parse.quote(key, safe='-_.~/')}"


def query_string(pairs: list[tuple[str, str]]) -> str:
    return "&".join(f"{quote(k)}={quote(v)}" for k, v in pairs)


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


@dataclass
class Signed:
    """The headers to send, and what the chunk signatures chain from."""

    headers: dict[str, str]
    seed: str
    key: bytes
    scope: str
    stamp: str


@dataclass
class Signer:
    access: str
    secret: str
    region: str = "us-east-1"
    service: str = "s3"
    # Added to the clock: a skewed client.
    skew: datetime.timedelta = field(default_factory=datetime.timedelta)

    def now(self) -> datetime.datetime:
        return datetime.datetime.now(datetime.timezone.utc) + self.skew

    def _key(self, day: str) -> bytes:
        key = _hmac(b"AWS4" + self.secret.encode(), day)
        for part in (self.region, self.service, "aws4_request"):
            key = _hmac(key, part)
        return key

    def _signature(self, stamp: str, scope: str, canonical: str) -> tuple[str, bytes]:
        text = "\n".join(("AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()))
        key = self._key(stamp[:8])
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest(), key

    @staticmethod
    def _canonical_query(query: str) -> str:
        pairs = []
        for item in query.split("&") if query else []:
            name, _, value = item.partition("=")
            pairs.append((quote(urllib.parse.unquote(name)), quote(urllib.parse.unquote(value))))
        return "&".join(f"{k}={v}" for k, v in sorted(pairs))

    def sign(
        self,
        method: str,
        target: str,
        headers: dict[str, str],
        payload_hash: str = UNSIGNED,
        leave_unsigned: tuple[str, ...] = (),
    ) -> Signed:
        """Adds x-amz-date, x-amz-content-sha256 and Authorization. `headers` must hold Host."""
        path, _, query = target.partition("?")
        stamp = self.now().strftime("%Y%m%dT%H%M%SZ")
        scope = f"{stamp[:8]}/{self.region}/{self.service}/aws4_request"
        out = {**headers, "x-amz-date": stamp, "x-amz-content-sha256": payload_hash}
        lower = {k.lower(): " ".join(str(v).split()) for k, v in out.items()}
        names = sorted(n for n in lower if n not in leave_unsigned and n not in ("connection", "expect", "transfer-encoding"))
        signed = ";".join(names)
        canonical = "\n".join(
            (
                method,
                path,
                self._canonical_query(query),
                "".join(f"{n}:{lower[n]}\n" for n in names),
                signed,
                payload_hash,
            )
        )
        signature, key = self._signature(stamp, scope, canonical)
        out["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.access}/{scope}, SignedHeaders={signed}, Signature={signature}"
        )
        return Signed(out, signature, key, scope, stamp)

    def presign(self, method: str, target: str, host: str, expires: int, extra: dict[str, str] | None = None) -> str:
        """The target with query authentication; `extra` are further signed headers."""
        path, _, query = target.partition("?")
        stamp = self.now().strftime("%Y%m%dT%H%M%SZ")
        scope = f"{stamp[:8]}/{self.region}/{self.service}/aws4_request"
        headers = {"host": host, **{k.lower(): v for k, v in (extra or {}).items()}}
        names = sorted(headers)
        auth = [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", f"{self.access}/{scope}"),
            ("X-Amz-Date", stamp),
            ("X-Amz-Expires", str(expires)),
            ("X-Amz-SignedHeaders", ";".join(names)),
        ]
        query = "&".join(x for x in (query, query_string(auth)) if x)
        canonical = "\n".join(
            (
                method,
                path,
                self._canonical_query(query),
                "".join(f"{n}:{headers[n]}\n" for n in names),
                ";".join(names),
                UNSIGNED,
            )
        )
        signature, _ = self._signature(stamp, scope, canonical)
        return f"{path}?{query}&X-Amz-Signature={signature}"


def chunked(
    signed: Signed | None,
    data: bytes,
    chunk: int = 65536,
    trailers: list[tuple[str, str]] | None = None,
    corrupt_chunk: int | None = None,
    corrupt_trailer: bool = False,
) -> bytes:
    """`data` in aws-chunked framing. With `signed`, each chunk (and the trailer) is signed.

    `corrupt_chunk` spoils the signature of that chunk; `corrupt_trailer` that of the trailer.
    """
    out = bytearray()
    previous = signed.seed if signed else ""
    pieces = [data[i : i + chunk] for i in range(0, len(data), chunk)] + [b""]

    def chain(kind: str, previous: str, *hashes: str) -> str:
        text = "\n".join((kind, signed.stamp, signed.scope, previous, *hashes))
        return hmac.new(signed.key, text.encode(), hashlib.sha256).hexdigest()

    for index, piece in enumerate(pieces):
        out += f"{len(piece):x}".encode()
        if signed:
            previous = chain("AWS4-HMAC-SHA256-PAYLOAD", previous, EMPTY_SHA256, hashlib.sha256(piece).hexdigest())
            shown = ("0" * 8 + previous[8:]) if corrupt_chunk == index else previous
            out += f";chunk-signature={shown}".encode()
        out += b"\r\n"
        if piece:
            out += piece + b"\r\n"
    if trailers is not None:
        for name, value in trailers:
            out += f"{name}:{value}\r\n".encode()
        if signed:
            text = "".join(f"{name}:{value}\n" for name, value in trailers)
            signature = chain("AWS4-HMAC-SHA256-TRAILER", previous, hashlib.sha256(text.encode()).hexdigest())
            if corrupt_trailer:
                signature = "0" * 8 + signature[8:]
            out += f"x-amz-trailer-signature:{signature}\r\n".encode()
    out += b"\r\n"
    return bytes(out)
