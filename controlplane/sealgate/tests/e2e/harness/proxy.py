"""A TCP proxy before a store that fails on demand."""

import socket
import threading
from collections.abc import Callable

LINGER_RESET = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")


class Proxy:
    """Forwards to 127.0.0.1:`target`. A fault is armed for one connection, and then used up."""

    def __init__(self, target: int):
        self.target = target
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Lock()
        self.open: list[socket.socket] = []
        self.connections = 0
        # (bytes from the store after which to cut, what to do at that moment)
        self.cut_answer: tuple[int, Callable[[], None] | None] | None = None
        # Bytes from the gateway after which to cut.
        self.cut_request: int | None = None
        # An answer to give instead of the store's, for so many requests.
        self.canned: list[bytes] = []
        self.faults = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.listener.close()
        self.drop_all()

    def drop_all(self, reset: bool = False) -> None:
        """Closes every connection, as a store does with idle ones."""
        with self.lock:
            for side in self.open:
                try:
                    if reset:
                        side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
                    side.shutdown(socket.SHUT_RDWR) if not reset else side.close()
                except OSError:
                    pass
            self.open.clear()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            store = socket.create_connection(("127.0.0.1", self.target))
            with self.lock:
                self.connections += 1
                self.open += [client, store]
            threading.Thread(target=self._pump, args=(client, store, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(store, client, False), daemon=True).start()

    def _end(self, *sides: socket.socket, reset: bool = True) -> None:
        for side in sides:
            try:
                if reset:
                    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            side.close()

    def _pump(self, source: socket.socket, sink: socket.socket, is_request: bool) -> None:
        passed = 0
        try:
            while data := source.recv(65536):
                hook, cut = None, False
                with self.lock:
                    if is_request and self.canned:
                        # The whole request is in this read: only small ones are answered so.
                        source.sendall(self.canned.pop(0))
                        self.faults += 1
                        continue
                    passed += len(data)
                    if is_request and self.cut_request is not None and passed >= self.cut_request:
                        self.cut_request, cut = None, True
                    if not is_request and self.cut_answer is not None and passed >= self.cut_answer[0]:
                        limit, hook = self.cut_answer
                        data = data[: len(data) - (passed - limit)]
                        self.cut_answer, cut = None, True
                    self.faults += cut
                if cut:
                    if not is_request:
                        sink.sendall(data)
                        if hook:
                            hook()
                        # A clean end in the middle of the body; the reset is for requests.
                    self._end(source, sink, reset=is_request)
                    return
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            self._end(source, sink, reset=False)
