"""docs/compatibility.md, from measured results alone."""

import fcntl
import json
from pathlib import Path

from harness import ROOT

from .cases import CASES
from .runner import Cell
from .stores import STORES
from .tools import TOOLS

PAGE = ROOT / "docs" / "compatibility.md"
MARKS = {"pass": "✓", "caveat": "c", "fail": "✗"}


class Results:
    """The cells measured with this cache, so that a matrix can be run in several sittings."""

    def __init__(self, cache: Path):
        self.path = cache / "certify" / "results.json"
        self.cells: dict[str, dict] = {}
        self.mine: dict[str, dict] = {}
        self.versions: dict[str, dict[str, str]] = {"tools": {}, "stores": {}}

    def add(self, cell: Cell, sealgate: str) -> None:
        self.mine["/".join(cell.where)] = {"result": cell.result, "detail": cell.detail, "sealgate": sealgate}

    def save(self) -> None:
        """Adds what this run measured to what others did."""
        with open(self.path.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            kept = json.loads(self.path.read_text()) if self.path.exists() else {"cells": {}, "versions": {}}
            self.cells = {**kept["cells"], **self.mine}
            self.versions = {kind: {**kept["versions"].get(kind, {}), **mine} for kind, mine in self.versions.items()}
            self.path.write_text(json.dumps({"versions": self.versions, "cells": self.cells}, indent=1, sort_keys=True))


def write(results: Results, expectations, sealgate: str) -> int:
    tools = [tool() for tool in TOOLS]
    missing = []
    for store in STORES:
        for tool in tools:
            for case in tool.cases():
                cell = results.cells.get(f"{store.name}/{tool.name}/{case}")
                if cell is None or cell["sealgate"] != sealgate:
                    missing.append(f"{store.name}/{tool.name}/{case}")
    if missing:
        print(f"certify: {len(missing)} cells have no result with {sealgate} and are marked so, for example {missing[0]}")
        for where in missing:
            results.cells.pop(where, None)
    PAGE.write_text(page(results, expectations, sealgate, tools))
    print(f"certify: wrote {PAGE.relative_to(ROOT)}")
    return 0


def page(results: Results, expectations, sealgate: str, tools) -> str:
    lines = [
        "# Compatibility",
        "",
        "Written by `./test certify --write` from real runs; do not edit. Every tool ran every case that it can express",
        f"through {sealgate} before every store. ✓ passed; c passed with a caveat, or the store or the tool cannot do it",
        "without Sealgate either; ✗ failed; – not run; · the tool has no such operation. The settings are in [clients.md](clients.md).",
        "",
        "| Store | Version |",
        "|---|---|",
        *(f"| {s.title} | {results.versions['stores'][s.name]} |" for s in STORES),
        "",
        "| Tool | Version | " + " | ".join(s.title for s in STORES) + " |",
        "|---|---|" + "---|" * len(STORES),
    ]
    for tool in tools:
        row = []
        for store in STORES:
            cells = [results.cells.get(f"{store.name}/{tool.name}/{case}") for case in tool.cases()]
            got = [cell["result"] for cell in cells if cell]
            other = [f"{got.count(r)} {MARKS[r]}" for r in ("caveat", "fail") if r in got]
            row.append("–" if not got else f"{got.count('pass')}/{len(got)}" + (f" ({', '.join(other)})" if other else ""))
        lines.append(f"| {tool.title} | {results.versions['tools'][tool.name]} | {' | '.join(row)} |")
    lines += ["", "## Cases", "", "| Case | Holds |", "|---|---|", *(f"| {c} | {what} |" for c, what in CASES.items())]
    for store in STORES:
        lines += ["", f"## {store.title}", ""]
        lines += ["| | " + " | ".join(t.title for t in tools) + " |", "|---|" + ":-:|" * len(tools)]
        notes: dict[str, list[str]] = {}
        for case in CASES:
            row = []
            for tool in tools:
                cell = results.cells.get(f"{store.name}/{tool.name}/{case}") if case in tool.cases() else None
                row.append(MARKS[cell["result"]] if cell else "–" if case in tool.cases() else "·")
                if cell and cell["result"] != "pass":
                    entry = expectations.of(store.name, tool.name, case)
                    reason = entry["reason"] if entry else cell["detail"]
                    notes.setdefault(f"{case}: {reason}", []).append(tool.title)
            lines.append(f"| {case} | {' | '.join(row)} |")
        if notes:
            lines += ["", *(f"* {reason} ({', '.join(who)})" for reason, who in notes.items())]
    lines += ["", "## Not applicable", "", "| Tool | Cases | Because |", "|---|---|---|"]
    for tool in tools:
        reasons: dict[str, list[str]] = {}
        for case, why in tool.absent.items():
            reasons.setdefault(why, []).append(case)
        for why, cases in reasons.items():
            lines.append(f"| {tool.title} | {', '.join(cases)} | {why} |")
    return "\n".join(lines) + "\n"
