"""A TCP proxy that puts a store far away: every byte late, every connection only so fast; with faults on demand."""

import asyncio
import re
import threading
from collections.abc import Callable

REQUEST = re.compile(rb"(GET|HEAD|PUT|POST|DELETE) (\S+) HTTP/1\.1\r\n")
RANGE = re.compile(rb"\r\nrange: bytes=(\d+)-(\d*)", re.IGNORECASE)
# Bytes under way in one direction of a connection.
PIPE = 4 << 20


class Seen:
    """A request that passed, and where its answer is to be cut."""

    def __init__(self, head: bytes):
        found = REQUEST.match(head)
        self.method, self.target = found[1].decode(), found[2].decode()
        wanted = RANGE.search(head.partition(b"\r\n\r\n")[0])
        self.start = int(wanted[1]) if wanted else None
        self.end = int(wanted[2]) if wanted and wanted[2] else None
        self.cut_after: int | None = None

    def __repr__(self) -> str:
        return f"{self.method} {self.target} from {self.start}"


class Far:
    """Forwards to 127.0.0.1:`target`, `latency` seconds there and back, `rate` bytes per second and connection."""

    def __init__(self, target: int, latency: float = 0.015, rate: float = 150e6):
        self.target, self.latency, self.rate = target, latency, rate
        self.seen: list[Seen] = []
        # Called with each request before it is passed on; may set `cut_after`.
        self.on_request: Callable[[Seen], None] = lambda seen: None
        self.open: set[asyncio.StreamWriter] = set()
        # Most connections at a time.
        self.most = 0
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()

        async def serve() -> None:
            server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=1 << 18)
            self.port = server.sockets[0].getsockname()[1]
            ready.set()

        def run() -> None:
            asyncio.set_event_loop(self.loop)
            self.loop.create_task(serve())
            self.loop.run_forever()
            left = asyncio.all_tasks(self.loop)
            for task in left:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self.loop.close()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        assert ready.wait(10)
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    def reset(self) -> None:
        """Forgets what passed, and all faults."""
        self.seen, self.most = [], len(self.open)
        self.on_request = lambda seen: None

    def passed(self, method: str, part: str = "") -> list[Seen]:
        return [s for s in list(self.seen) if s.method == method and part in s.target]

    def connections(self) -> int:
        return len(self.open)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_store, to_store = await asyncio.open_connection("127.0.0.1", self.target, limit=1 << 18)
        except OSError:
            writer.close()
            return
        self.open.add(writer)
        self.most = max(self.most, len(self.open))
        current: list[Seen] = []

        def end() -> None:
            writer.close()
            to_store.close()

        try:
            await asyncio.gather(
                self._pump(reader, to_store, current, True, end), self._pump(from_store, writer, current, False, end)
            )
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self.open.discard(writer)
            end()

    async def _pump(self, source, sink, current: list[Seen], is_request: bool, end: Callable[[], None]) -> None:
        """One direction: what is read now is written half a round trip later, and not faster than it may be."""
        queue: asyncio.Queue = asyncio.Queue()
        room = asyncio.Semaphore(PIPE >> 18)

        async def write() -> None:
            answered = 0
            while item := await queue.get():
                due, data, begins = item
                await asyncio.sleep(max(0.0, due - self.loop.time()))
                answered = len(data) if begins else answered + len(data)
                cut = None if is_request or not current else current[-1].cut_after
                if cut is not None and answered > cut:
                    sink.write(data[: len(data) - (answered - cut)])
                    await sink.drain()
                    end()
                    for _ in range(PIPE >> 18):
                        room.release()
                    return
                sink.write(data)
                await sink.drain()
                room.release()
            sink.write_eof()

        writing = asyncio.ensure_future(write())
        moved = self.loop.time()
        asked = None
        try:
            while not writing.done() and (data := await source.read(1 << 18)):
                begins = False
                if is_request and REQUEST.match(data):
                    seen = Seen(data)
                    current.append(seen)
                    self.seen.append(seen)
                    self.on_request(seen)
                elif not is_request and current and current[-1] is not asked:
                    asked, begins = current[-1], True
                moved = max(moved, self.loop.time()) + len(data) / self.rate
                await room.acquire()
                queue.put_nowait((moved + self.latency / 2, data, begins))
            queue.put_nowait(None)
            await writing
        finally:
            writing.cancel()
