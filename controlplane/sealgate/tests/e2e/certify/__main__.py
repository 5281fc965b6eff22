"""`./test certify`: the certification matrix.

    ./test certify                              everything (half an hour or more; installs what it needs)
    ./test certify --store fs --tool boto3      some of it; each option may be given more than once
    ./test certify --case list
    ./test certify --write                      everything, then docs/compatibility.md from the results
    ./test certify --list                       what there is
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from harness import ROOT, binary

from . import document
from .cases import CASES
from .install import Install, Missing
from .runner import Expectations, run_store
from .stores import STORES
from .tools import TOOLS


def chosen(parser, what: str, given: list[str] | None, known: dict) -> list:
    unknown = [name for name in given or [] if name not in known]
    if unknown:
        parser.error(f"no {what} is called {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in known if not given or name in given]


def main() -> int:
    parser = argparse.ArgumentParser(prog="./test certify", description=__doc__.split("\n")[0])
    parser.add_argument("--store", action="append", metavar="S")
    parser.add_argument("--tool", action="append", metavar="T")
    parser.add_argument("--case", action="append", metavar="C")
    parser.add_argument("--write", action="store_true", help="write docs/compatibility.md (wants a result of every cell)")
    parser.add_argument("--list", action="store_true", help="print the stores, tools and cases")
    options = parser.parse_args()
    stores, tools = {s.name: s for s in STORES}, {t.name: t for t in TOOLS}
    if options.list:
        print(f"stores: {', '.join(stores)}\ntools:  {', '.join(tools)}\ncases:  {', '.join(CASES)}")
        return 0
    stores = chosen(parser, "store", options.store, stores)
    tools = [t() for t in chosen(parser, "tool", options.tool, tools)]
    cases = chosen(parser, "case", options.case, {c: c for c in CASES})
    for tool in tools:
        tool.cases()

    cache = Path(os.environ.get("SEALGATE_CACHE") or ROOT / ".cache")
    install, expectations, results = Install(cache), Expectations(), document.Results(cache)
    sealgate = subprocess.run([binary(), "--version"], capture_output=True, text=True, check=True).stdout.strip()
    unexpected, counts = [], {"pass": 0, "caveat": 0, "fail": 0}

    def report(cell) -> None:
        wrong = expectations.differs(cell)
        counts[cell.result] += 1
        detail = f" ({cell.detail})" if cell.detail else ""
        print(f"{'UNEXPECTED ' if wrong else ''}{cell.result:6} {cell.store:10} {cell.tool:12} {cell.case:15} {cell.seconds:5.1f} s{detail}", flush=True)
        if wrong:
            print(f"       {wrong}", flush=True)
            unexpected.append(cell)
        results.add(cell, sealgate)

    try:
        for tool in tools:
            tool.prepare(install)
            results.versions["tools"][tool.name] = tool.version()
        for store in stores:
            store = store()
            store.prepare(install)
            results.versions["stores"][store.name] = store.version()
            run_store(store, tools, cases, report)
            results.save()
    except Missing as e:
        print(f"certify: {e}", file=sys.stderr)
        return 2
    finally:
        results.save()
    for cell in unexpected:
        print(f"unexpected: {cell.result} {' '.join(cell.where)}: {cell.detail}")
    print(f"{counts['pass']} passed, {counts['caveat']} with a caveat, {counts['fail']} failed; {len(unexpected)} unexpected")
    if options.write and not unexpected:
        return document.write(results, expectations, sealgate)
    return 1 if unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
