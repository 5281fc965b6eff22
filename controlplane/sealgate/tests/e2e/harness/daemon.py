"""A child process with a log file, a readiness probe, and an end that is always by its own pid."""

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path


class Daemon:
    """Runs `argv`; output goes to `log`."""

    def __init__(self, argv: list[str], log: Path, env: dict[str, str] | None = None, cwd: Path | None = None, preexec=None):
        self.argv, self.log = argv, log
        self._file = open(log, "ab")
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            preexec_fn=preexec,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_ready(self, url: str, seconds: float = 30.0) -> None:
        """Polls `url` until it answers 200; fails at once when the process ends."""
        deadline = time.monotonic() + seconds
        last = "no attempt"
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.argv[0]} ended with {self.process.returncode} before it was ready:\n{self.tail()}")
            try:
                with urllib.request.urlopen(url, timeout=2) as answer:
                    if answer.status == 200:
                        return
                    last = f"status {answer.status}"
            except (urllib.error.URLError, OSError) as e:
                last = str(e)
            time.sleep(0.03)
        raise RuntimeError(f"{url} was not ready after {seconds} s ({last}):\n{self.tail()}")

    def tail(self, start: int = 0, limit: int = 8000) -> str:
        """The end of the log, from byte `start` at most."""
        data = self.log.read_bytes()[start:]
        return data[-limit:].decode("utf-8", "replace")

    def log_size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9: what a crash or a power cut looks like to the process."""
        self.process.kill()
        self.process.wait(10)

    def stop(self, seconds: float = 15.0) -> int:
        """SIGTERM, then the exit status; SIGKILL when the process does not end in time."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        self._file.close()
        return self.process.returncode
