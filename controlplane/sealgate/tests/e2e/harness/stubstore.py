"""A store that keeps nothing: it records each request as it came, and answers what the test says."""

import threading
import urllib.parse
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Seen:
    """One request that reached the store."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: bytes

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.query} {self.headers} {self.body[:200]!r}"


@dataclass
class Canned:
    """An answer."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class StubStore:
    """Answers with `answer(seen)`, by default an empty 200 with an ETag."""

    def __init__(self):
        self.seen: list[Seen] = []
        self.answer = lambda seen: Canned(headers={"ETag": '"0123456789abcdef0123456789abcdef"'})
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                url = urllib.parse.urlsplit(self.path)
                length = int(self.headers.get("Content-Length") or 0)
                seen = Seen(
                    self.command,
                    url.path,
                    urllib.parse.parse_qsl(url.query, keep_blank_values=True),
                    {k.lower(): v for k, v in self.headers.items()},
                    self.rfile.read(length),
                )
                stub.seen.append(seen)
                canned = stub.answer(seen)
                self.send_response(canned.status)
                for name, value in canned.headers.items():
                    self.send_header(name, value)
                if canned.status != 204 and "Content-Length" not in canned.headers:
                    self.send_header("Content-Length", str(len(canned.body)))
                self.end_headers()
                if self.command != "HEAD" and canned.status != 204:
                    self.wfile.write(canned.body)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_one

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def says(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        """The answer to everything from now on; `_` in names of headers stands for `-`."""
        canned = Canned(status, body, {k.replace("_", "-"): v for k, v in headers.items()})
        self.answer = lambda seen: canned

    def take(self) -> list[Seen]:
        """What came since the last call."""
        seen, self.seen = self.seen, []
        return seen

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
