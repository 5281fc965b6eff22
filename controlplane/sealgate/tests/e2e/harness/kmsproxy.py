"""A proxy before a key service that fails on demand, for all connections and for as long as it is told to."""

import http.client
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LINGER_RESET = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")


class KmsProxy:
    """Forwards HTTP to 127.0.0.1:`target`. `mode` is one of

    "pass"; "slow" (after `delay` seconds); "hang" (no answer); "reset" (the connection, once the request is read);
    "cut" (in the middle of the answer); or an answer to give instead: (status, headers, body).
    """

    def __init__(self, target: int):
        self.mode: str | tuple[int, dict[str, str], bytes] = "pass"
        self.delay = 0.0
        self.target = target
        self.calls = self.faults = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 60

            def log_message(self, *_):
                pass

            def handle_any(self):
                proxy.serve(self)

            do_GET = do_POST = do_PUT = do_LIST = do_DELETE = handle_any

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self.server.daemon_threads, self.server.request_queue_size = True, 256
        self.server.server_bind()
        self.server.server_activate()
        self.server.handle_error = lambda *_: None
        self.port = self.server.server_address[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.mode = "reset"
        self.server.shutdown()
        self.server.server_close()

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        mode = self.mode
        self.calls += 1
        self.faults += mode != "pass"
        if mode == "slow":
            time.sleep(self.delay)
        elif mode == "hang":
            while self.mode == "hang":
                time.sleep(0.05)
            mode = "reset"
        if mode == "reset":
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
            request.close_connection = True
            return request.connection.close()
        if isinstance(mode, tuple):
            return self.reply(request, *mode)
        upstream = http.client.HTTPConnection("127.0.0.1", self.target, timeout=30)
        try:
            headers = {k: v for k, v in request.headers.items() if k.lower() not in ("host", "connection")}
            # What is signed names the host that the client meant.
            upstream.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in [("Host", request.headers["Host"]), *headers.items()]:
                upstream.putheader(name, value)
            upstream.endheaders(body or None)
            answer = upstream.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException):
            request.close_connection = True
            return None
        finally:
            upstream.close()
        headers = {k: v for k, v in answer.getheaders() if k.lower() not in ("content-length", "transfer-encoding", "connection")}
        return self.reply(request, answer.status, headers, data, cut=mode == "cut")

    def reply(self, request: BaseHTTPRequestHandler, status: int, headers: dict, body: bytes, cut: bool = False) -> None:
        request.send_response_only(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[: len(body) // 2] if cut else body)
        request.close_connection |= cut
