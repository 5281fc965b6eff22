"""What the end-to-end tests stand on: real servers on loopback, signers and a raw wire."""

import os
import sys
from pathlib import Path

# The root of the repository, found from this file so that tests run from any folder.
ROOT = Path(__file__).resolve().parents[5]
# Point every test at the store itself, to check that the suite expects what a plain S3 store does.
DIRECT = os.environ.get("SEALGATE_E2E_DIRECT") == "1"


def tool(name: str) -> str:
    """The path of a program that the pinned packages installed; an error says how to get it."""
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run the suite with ./test, which installs requirements.txt")
    return str(path)


def binary() -> str:
    """The gateway under test: $SEALGATE_BIN, or the release build of this checkout."""
    target = os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))
    path = Path(os.environ.get("SEALGATE_BIN", f"{target}/release/sealgate"))
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: build it with `cargo build --release -p sealgate`")
    return str(path.resolve())
