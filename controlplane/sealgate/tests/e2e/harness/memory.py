"""The memory of a running process, as root sees it: every readable page of /proc/PID/mem."""

import re
from dataclasses import dataclass
from pathlib import Path

STEP = 4 << 20


@dataclass(frozen=True)
class Region:
    """One mapping, with the kernel's flags for it (proc(5), VmFlags)."""

    start: int
    end: int
    permissions: str
    name: str
    flags: frozenset[str]

    @property
    def protected(self) -> bool:
        """Left out of core dumps and forks, and locked."""
        return {"dd", "dc", "lo"} <= self.flags


def regions(pid: int) -> list[Region]:
    found, header = [], None
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        match = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+\s*(.*)", line)
        if match:
            header = match
        elif line.startswith("VmFlags:"):
            start, end, permissions, name = header.groups()
            found.append(Region(int(start, 16), int(end, 16), permissions, name, frozenset(line.split()[1:])))
    assert found, f"process {pid} shows no memory"
    return found


def search(pid: int, needles: dict[str, bytes]) -> dict[str, list[tuple[int, Region]]]:
    """Where each of the named needles is, in all of the process's own memory (writable or not, no devices)."""
    longest = max(len(n) for n in needles.values())
    found: dict[str, list[tuple[int, Region]]] = {name: [] for name in needles}
    searched = 0
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for region in regions(pid):
            if not region.permissions.startswith("r") or region.name in ("[vvar]", "[vsyscall]", "[vvar_vclock]"):
                continue
            at, carry = region.start, b""
            while at < region.end:
                try:
                    memory.seek(at)
                    data = memory.read(min(STEP, region.end - at))
                except OSError:
                    data = b""
                if not data:
                    break
                searched += len(data)
                window, base = carry + data, at - len(carry)
                for name, needle in needles.items():
                    hit = window.find(needle)
                    while hit >= 0:
                        place = (base + hit, region)
                        if place not in found[name]:
                            found[name].append(place)
                        hit = window.find(needle, hit + 1)
                carry = window[-(longest - 1) :]
                at += len(data)
    assert searched > 1 << 20, "too little was searched to mean anything"
    return found


def describe(places: list[tuple[int, Region]]) -> str:
    return ", ".join(f"{at:#x} in {r.name or 'anonymous'} {r.permissions} {' '.join(sorted(r.flags))}" for at, r in places)
