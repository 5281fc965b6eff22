"""An HTTP proxy before a store that gives it the habits of another: it changes requests, answers, or notes them."""

import http.client
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Exchange:
    """A request, and the store's answer once there is one."""

    method: str
    path: str
    # Names in lower case.
    headers: dict[str, str]
    body: bytes
    status: int = 0
    answer_headers: list[tuple[str, str]] = field(default_factory=list)
    answer: bytes = b""

    def refuse(self, status: int, code: str) -> None:
        self.status = status
        self.answer = f"<Error><Code>{code}</Code><Message>Because of a habit.</Message></Error>".encode()
        self.answer_headers = [("Content-Type", "application/xml")]


class Liar:
    """Forwards to 127.0.0.1:`target`. Signatures cover `x-amz-*`, so those headers have to pass as they are."""

    def __init__(self, target: int):
        self.target = target
        self.seen: list[Exchange] = []
        # May change a request; one that sets `status` answers it without the store.
        self.before: Callable[[Exchange], None] = lambda exchange: None
        # May change an answer; with status 0 the connection is cut instead.
        self.after: Callable[[Exchange], None] = lambda exchange: None
        liar = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do(self):
                liar._answer(self)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def honest(self) -> None:
        """Forgets everything."""
        self.seen.clear()
        self.before = self.after = lambda exchange: None

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("content-length") or 0)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        exchange = Exchange(handler.command, handler.path, headers, handler.rfile.read(length))
        self.seen.append(exchange)
        self.before(exchange)
        if exchange.status == 0:
            self._forward(exchange)
            self.after(exchange)
        if exchange.status == 0:
            handler.close_connection = True
            return
        handler.send_response_only(exchange.status)
        for name, value in exchange.answer_headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                handler.send_header(name, value)
        if exchange.method == "HEAD" and exchange.status == 200:
            handler.send_header("Content-Length", dict(exchange.answer_headers)["Content-Length"])
        elif exchange.status not in (204, 304):
            handler.send_header("Content-Length", str(len(exchange.answer)))
        handler.end_headers()
        if exchange.method != "HEAD":
            handler.wfile.write(exchange.answer)

    def _forward(self, exchange: Exchange) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.target, timeout=60)
        try:
            connection.putrequest(exchange.method, exchange.path, skip_host=True, skip_accept_encoding=True)
            for name, value in exchange.headers.items():
                connection.putheader(name, value)
            connection.endheaders(exchange.body)
            answer = connection.getresponse()
            exchange.answer = answer.read()
            exchange.status, exchange.answer_headers = answer.status, answer.getheaders()
        finally:
            connection.close()


def ignores_conditions(exchange: Exchange) -> None:
    """A store that takes conditions of writes, and does not look at them."""
    if exchange.method not in ("GET", "HEAD"):
        for name in [n for n in exchange.headers if n.startswith("if-")]:
            del exchange.headers[name]
