"""Installs tools and stores, each pinned, into the cache folder: once, and only those that a run asks for."""

import fcntl
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

CLIENTS = Path(__file__).parent / "clients"


class Missing(RuntimeError):
    """Something is not here and cannot be installed; the text says how a person gets it."""


class Install:
    def __init__(self, cache: Path):
        self.cache = cache / "certify"
        self.bin = self.cache / "bin"
        self.bin.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def _lock(self):
        """Two runs with one cache install one after the other."""
        with open(self.cache / "lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _call(self, argv: list[str], what: str, cwd: Path | None = None, **env: str) -> None:
        print(f"-- installing {what}", file=sys.stderr, flush=True)
        log = self.cache / "install.log"
        with open(log, "ab") as out:
            code = subprocess.run(argv, cwd=cwd, env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=out, stderr=out).returncode
        if code != 0:
            tail = log.read_text("utf-8", "replace")[-2000:]
            raise Missing(f"installing {what} failed (`{' '.join(argv)}` ended with {code}):\n{tail}")

    def needs(self, program: str, how: str) -> str:
        path = shutil.which(program)
        if not path:
            raise Missing(f"{program} is missing: {how}")
        return path

    def debian(self, package: str, program: str) -> str:
        """A program of a Debian package, installed where one may."""
        with self._lock():
            if not shutil.which(program):
                if os.geteuid() != 0 or not shutil.which("apt-get"):
                    raise Missing(f"{program} is missing: `sudo apt-get install {package}`")
                install = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "install", "-y", "-qq", "--no-install-recommends"]
                more = {"DEBIAN_FRONTEND": "noninteractive"}
                try:
                    self._call([*install, *package.split()], package, **more)
                except Missing:
                    self._call(["apt-get", "update", "-qq"], "the package lists", **more)
                    self._call([*install, *package.split()], package, **more)
        return self.needs(program, f"Debian's package {package} should hold it")

    def python(self, name: str) -> tuple[str, Path]:
        """A virtual environment of its own with the packages of clients/<name>.txt: its Python, and where they are."""
        wanted, there = (CLIENTS / f"{name}.txt").read_bytes(), self.cache / name
        program = str(there / "bin" / "python")
        with self._lock():
            if not (there / "complete").exists() or (there / "complete").read_bytes() != wanted:
                shutil.rmtree(there, ignore_errors=True)
                self._call([sys.executable, "-m", "venv", str(there)], f"an environment for {name}")
                pip = [program, "-m", "pip", "install", "-q", "--no-deps", "-r", str(CLIENTS / f"{name}.txt")]
                self._call(pip, f"the packages of {name}", PYTHONPATH="")
                (there / "complete").write_bytes(wanted)
        return program, next(there.glob("lib/python*/site-packages"))

    def go(self, name: str, package: str, version: str) -> str:
        """A program built by `go install`."""
        path = self.bin / f"{name}@{version}"
        with self._lock():
            if not path.exists():
                go = self.needs("go", "install Go 1.24 or newer (https://go.dev)")
                folder = self.cache / f"go-{name}"
                self._call([go, "install", f"{package}@{version}"], f"{name} {version} (minutes)", GOBIN=str(folder))
                built = folder / package.rsplit("/", 1)[1]
                built.rename(path)
                shutil.rmtree(folder)
        return str(path)

    def go_client(self, folder: str) -> str:
        path = self.bin / f"client-{folder}"
        with self._lock():
            go = self.needs("go", "install Go 1.24 or newer (https://go.dev)")
            self._call([go, "build", "-mod=readonly", "-o", str(path), "."], f"the client in {folder}", cwd=CLIENTS / folder)
        return str(path)

    def node(self, folder: str) -> list[str]:
        """`npm ci` beside a copy of the sources, since node looks for packages beside them."""
        with self._lock():
            node = self.needs("node", "install Node.js 20 or newer (Debian: apt-get install nodejs npm)")
            npm = self.needs("npm", "install npm (Debian: apt-get install npm)")
            here, there = CLIENTS / folder, self.cache / folder
            lock = (here / "package-lock.json").read_bytes()
            if not (there / "complete").exists() or (there / "complete").read_bytes() != lock:
                shutil.rmtree(there, ignore_errors=True)
                shutil.copytree(here, there)
                self._call([npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"], f"the packages of {folder}", cwd=there)
                (there / "complete").write_bytes(lock)
            for source in here.glob("*.mjs"):
                shutil.copy(source, there)
        return [node, str(there)]

    def rust(self, crate: str) -> str:
        """A program of the clients' own Cargo workspace."""
        with self._lock():
            cargo = self.needs("cargo", "install the Rust toolchain (https://rustup.rs)")
            target = self.cache / "rust"
            argv = [cargo, "build", "--locked", "--manifest-path", str(CLIENTS / "rust" / "Cargo.toml"), "-p", crate]
            self._call(argv, f"{crate} (minutes the first time)", CARGO_TARGET_DIR=str(target))
        return str(target / "debug" / crate)

    def cargo_install(self, crate: str, version: str) -> str:
        """A program published on crates.io."""
        path = self.bin / f"{crate}@{version}"
        with self._lock():
            if not path.exists():
                cargo = self.needs("cargo", "install the Rust toolchain (https://rustup.rs)")
                root = self.cache / "cargo-install"
                argv = [cargo, "install", "--locked", "--debug", "--root", str(root), crate, "--version", version]
                self._call(argv, f"{crate} {version} (minutes)", CARGO_TARGET_DIR=str(self.cache / "rust"))
                (root / "bin" / crate).rename(path)
        return str(path)

    def java(self, folder: str) -> list[str]:
        """A Maven project that copies its dependencies beside its jar."""
        with self._lock():
            java = self.needs("java", "install a JDK 17 or newer (Debian: apt-get install default-jdk-headless)")
            there = self.cache / folder
            source = b"".join(p.read_bytes() for p in sorted((CLIENTS / folder).rglob("*")) if p.is_file() and "target" not in p.parts)
            if not (there / "complete").exists() or (there / "complete").read_bytes() != source:
                mvn = self.needs("mvn", "install Maven 3.8 or newer (Debian: apt-get install maven)")
                shutil.rmtree(there, ignore_errors=True)
                shutil.copytree(CLIENTS / folder, there, ignore=shutil.ignore_patterns("target"))
                self._call([mvn, "-q", "-B", "package"], f"the client in {folder}", cwd=there)
                (there / "complete").write_bytes(source)
        return [java, "-Xmx256m", "-cp", f"{there}/target/certify.jar:{there}/target/lib/*"]
