"""Every test that the documentation names exists."""

import re
from pathlib import Path

import pytest

from harness import ROOT


@pytest.mark.parametrize("page", ["README.md", "SECURITY.md", "docs/traps.md", "docs/clients.md", "docs/s3-operations.md", "docs/kms/runbooks.md", "docs/kms/vault.md", "docs/rotation.md", "docs/security/secrets.md"])
def test_named_tests_exist(page):
    here = Path(__file__).parent
    sources = {path.name: path.read_text() for path in here.glob("test_*.py")}
    functions = {name for text in sources.values() for name in re.findall(r"^def (test_\w+)", text, re.M)}
    for name in re.findall(r"\b(test_\w+(?:\.py)?)", (ROOT / page).read_text()):
        assert name in sources if name.endswith(".py") else name in functions, f"{page} names {name}"


def test_named_metrics_exist():
    """Alarms and runbooks name metrics that docs/metrics.md has, which is checked against the program's own table."""
    table = (ROOT / "docs/metrics.md").read_text()
    known = set(re.findall(r"^\| `(sealgate_\w+)` \|", table, re.M))
    histograms = set(re.findall(r"^\| `(sealgate_\w+)` \| histogram", table, re.M))
    known |= {f"{name}_{part}" for name in histograms for part in ("bucket", "sum", "count")}
    assert len(known) > 40
    pages = [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
    alarms = 0
    for page in pages:
        # Expressions, code and tables; a module's file and a crate are no metrics.
        for name in re.findall(r"(?<![\w/.])sealgate_[a-z_]+(?!\w|\.py|\(|::)", page.read_text()):
            if name.startswith("sealgate_open") or name.endswith("_"):
                continue
            assert name in known, f"{page.name} names {name}"
            alarms += page.name == "failure.md"
    assert alarms >= 8
