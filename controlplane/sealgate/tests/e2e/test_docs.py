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
