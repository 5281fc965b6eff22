"""HTTP/1.1 by hand over a socket, to send what no client library would and see exactly what comes back."""

import re
import socket
import ssl
import urllib.parse
from dataclasses import dataclass

from . import sigv4


class Cut(Exception):
    """The peer closed before the answer was whole."""

    def __init__(self, got: bytes):
        super().__init__(f"connection cut after {len(got)} bytes: {got[:200]!r}")
        self.got = got


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The S3 error code in the body, or an empty string."""
        found = re.search(rb"<Code>([^<]*)</Code>", self.body)
        return found.group(1).decode() if found else ""

    def __str__(self) -> str:
        return f"{self.status} {self.code} {self.headers} {self.body[:300]!r}"


class Wire:
    """One connection."""

    def __init__(self, endpoint: str, timeout: float = 20.0, ca: str | None = None):
        url = urllib.parse.urlsplit(endpoint)
        self.host = url.netloc
        self.socket = socket.create_connection((url.hostname, url.port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if url.scheme == "https":
            context = ssl.create_default_context(cafile=ca)
            self.socket = context.wrap_socket(self.socket, server_hostname=url.hostname)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_quietly(self, data: bytes) -> None:
        """Sends what can be sent: the peer may answer and close before it has read everything."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def head(self, method: str, target: str, headers: dict[str, str] | list[tuple[str, str]]) -> bytes:
        items = headers.items() if isinstance(headers, dict) else headers
        lines = [f"{method} {target} HTTP/1.1", *(f"{k}: {v}" for k, v in items), "", ""]
        return "\r\n".join(lines).encode("latin-1")

    def _more(self) -> bool:
        try:
            data = self.socket.recv(1 << 20)
        except (ConnectionResetError, ssl.SSLEOFError):
            return False
        self.buffer += data
        return bool(data)

    def _line(self) -> bytes:
        while b"\r\n" not in self.buffer:
            if not self._more():
                raise Cut(self.buffer)
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def _exactly(self, n: int) -> bytes:
        parts, have = [self.buffer], len(self.buffer)
        self.buffer = b""
        while have < n:
            try:
                data = self.socket.recv(1 << 20)
            except (ConnectionResetError, ssl.SSLEOFError):
                data = b""
            if not data:
                raise Cut(b"".join(parts))
            parts.append(data)
            have += len(data)
        whole = b"".join(parts)
        self.buffer = whole[n:]
        return whole[:n]

    def read_head(self) -> tuple[int, dict[str, str]]:
        status = int(self._line().split(b" ")[1])
        headers: dict[str, str] = {}
        while line := self._line():
            name, _, value = line.decode("latin-1").partition(":")
            name = name.lower()
            assert name not in ("content-length", "transfer-encoding") or name not in headers, f"{name} twice"
            headers[name] = value.strip()
        return status, headers

    def answer(self, method: str = "GET", skip_continue: bool = True) -> Answer:
        """Reads one answer; raises Cut when the connection ends inside it."""
        status, headers = self.read_head()
        while skip_continue and status == 100:
            status, headers = self.read_head()
        if method == "HEAD" or status in (204, 304) or status < 200:
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = b""
            while size := int(self._line().split(b";")[0], 16):
                body += self._exactly(size)
                assert self._line() == b""
            while self._line():
                pass
            return Answer(status, headers, body)
        if "content-length" in headers:
            return Answer(status, headers, self._exactly(int(headers["content-length"])))
        while self._more():
            pass
        body, self.buffer = self.buffer, b""
        return Answer(status, headers, body)

    def closed_by_peer(self, seconds: float = 5.0) -> bool:
        """True when the peer closes and sends nothing more within `seconds`."""
        self.socket.settimeout(seconds)
        try:
            return not self.buffer and not self._more()
        except TimeoutError:
            return False


class S3Wire:
    """Signed requests over fresh connections."""

    def __init__(self, endpoint: str, access: str, secret: str, ca: str | None = None):
        self.endpoint, self.ca = endpoint, ca
        self.signer = sigv4.Signer(access, secret)

    def connect(self, timeout: float = 20.0) -> Wire:
        return Wire(self.endpoint, timeout, self.ca)

    def signed(self, wire: Wire, method: str, target: str, headers=None, payload_hash=sigv4.UNSIGNED, **options):
        base = {"Host": wire.host, **(headers or {})}
        return self.signer.sign(method, target, base, payload_hash, **options)

    def request(
        self,
        method: str,
        target: str,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        payload_hash: str = sigv4.UNSIGNED,
        length: bool = True,
    ) -> Answer:
        """One signed request on its own connection."""
        with self.connect() as wire:
            headers = dict(headers or {})
            if length and (body or method in ("PUT", "POST")):
                headers["Content-Length"] = str(len(body))
            signed = self.signed(wire, method, target, headers, payload_hash)
            wire.send_quietly(wire.head(method, target, signed.headers) + body)
            return wire.answer(method)
