"""Runs cells of the matrix and compares them with what is expected."""

import shutil
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

from harness import gateway as gw

from .cases import Caveat, Target
from .tools.boto import client

EXPECTATIONS = Path(__file__).parent / "expectations.toml"


@dataclass
class Cell:
    """One measured result. `store` marks what fails in the same way without Sealgate."""

    store: str
    tool: str
    case: str
    result: str  # pass, caveat or fail
    detail: str = ""
    seconds: float = 0.0

    @property
    def where(self) -> tuple[str, str, str]:
        return self.store, self.tool, self.case


class Expectations:
    """The committed list of everything that is not a plain pass, each with its reason."""

    def __init__(self, path: Path = EXPECTATIONS):
        self.entries = tomllib.loads(path.read_text()).get("expect", [])
        self.used: set[int] = set()
        for entry in self.entries:
            assert entry["result"] in ("caveat", "fail") and entry["reason"], entry

    @staticmethod
    def _matches(wanted: object, value: str) -> bool:
        wanted = wanted if isinstance(wanted, list) else [wanted]
        return "*" in wanted or value in wanted

    def of(self, store: str, tool: str, case: str) -> dict | None:
        for number, entry in enumerate(self.entries):
            if all(self._matches(entry[k], v) for k, v in (("store", store), ("tool", tool), ("case", case))):
                self.used.add(number)
                return entry
        return None

    def differs(self, cell: Cell) -> str | None:
        """What is unexpected about a cell, or nothing."""
        entry = self.of(*cell.where)
        expected = entry["result"] if entry else "pass"
        if cell.result != expected:
            return f"expected {expected}" + (f" ({entry['reason']})" if entry else "")
        if entry and entry.get("detail", "") not in cell.detail:
            return f"expected a {expected} that says {entry['detail']!r}"
        return None


def short(error: BaseException) -> str:
    text = " ".join(f"{error}".split()) or type(error).__name__
    return text if len(text) < 600 else text[:300] + " … " + text[-280:]


def credential(access: str, secret: str, sigv2: bool, **more: str) -> str:
    pairs = {"access_key": access, "secret_key": secret, **more}
    text = "".join(f"{name} = {gw.q(value)}\n" for name, value in pairs.items())
    text += "sigv2 = true\n" if sigv2 else ""
    return f'[[credentials]]\n{text}allow = [{{ bucket = "*", actions = ["*"] }}]\n'


class Bench:
    """One store, a gateway before it, and a bucket for every tool."""

    def __init__(self, store, folder: Path, keys: tuple[str, str] = (gw.ACCESS, gw.SECRET), sigv2: bool = False):
        """`keys`: what the gateway's clients sign with; `sigv2`: also in the old way."""
        self.store, self.folder, self.keys = store, folder, keys
        self.gateway = None
        store.start(folder / "store")
        try:
            allowed = credential(*keys, sigv2)
            if store.alt:
                allowed += credential(*store.alt, sigv2, backend_access_key=store.alt[0], backend_secret_key=store.alt[1])
            self.gateway = gw.Gateway(folder / "gateway", store.backend(), credentials=allowed)
        except BaseException:
            store.stop()
            raise

    def target(self, tool: str, direct: bool = False) -> Target:
        store, name = self.store, f"certify-{tool}" + ("-direct" if direct else "")
        where = (store.endpoint, store.access, store.secret) if direct else (self.gateway.endpoint, *self.keys)
        s3 = client(*where)
        try:
            s3.create_bucket(Bucket=name)
        except (s3.exceptions.BucketAlreadyOwnedByYou, s3.exceptions.BucketAlreadyExists):
            pass
        return Target(*where, name, self.folder / name, s3)

    def run(self, tool, cases: list[str]):
        """Yields a cell per case. What fails is tried on the store itself, to tell whose fault it is."""
        target, started = self.target(tool.name), time.monotonic()
        for case, error in tool.run(target, cases):
            now = time.monotonic()
            yield self.judge(tool, case, error, now - started)
            started = time.monotonic()
        shutil.rmtree(target.folder, ignore_errors=True)

    def judge(self, tool, case: str, error: BaseException | None, seconds: float) -> Cell:
        cell = Cell(self.store.name, tool.name, case, "pass", "", seconds)
        if isinstance(error, Caveat):
            cell.result, cell.detail = "caveat", short(error)
        elif error is not None:
            cell.result, cell.detail = "fail", short(error)
            code, why = self.store.lacks.get(case, ("", ""))
            # Some tools show the code, some the message only.
            if code and (code.lower() in f"{error}".lower().replace(" ", "") or "needs an S3 store" in f"{error}"):
                cell.result, cell.detail = "caveat", f"{why}: {code}"
            elif self.store.endpoint:
                direct = self.target(tool.name, direct=True)
                for _, error in tool.run(direct, [case]):
                    if error is not None and not isinstance(error, Caveat):
                        cell.result, cell.detail = "caveat", f"fails directly too: {short(error)}; through Sealgate: {cell.detail}"
        return cell

    def stop(self) -> None:
        if self.gateway:
            self.gateway.stop(5)
        self.store.stop()


def run_store(store, tools, cases, report) -> None:
    """Every cell of one store; `report` is called with each."""
    with tempfile.TemporaryDirectory(prefix="certify-", ignore_cleanup_errors=True) as folder:
        bench = Bench(store, Path(folder))
        try:
            for tool in tools:
                mine = [case for case in tool.cases() if case in cases]
                for cell in bench.run(tool, mine) if mine else ():
                    report(cell)
        finally:
            bench.stop()
