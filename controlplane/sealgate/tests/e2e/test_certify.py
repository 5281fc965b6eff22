"""A part of the certification matrix that fits into every run; `./test certify` is the whole."""

import pytest

from certify.runner import Bench, Expectations
from certify.stores import Directory, Seaweed
from certify.tools import TOOLS, Boto3, MinioPy, Rclone, S5cmd
from harness import DIRECT

pytestmark = [pytest.mark.gateway, pytest.mark.timeout(300)]
STORES = [] if DIRECT else [Seaweed, Directory]


@pytest.fixture(scope="module", params=STORES, ids=lambda store: store.name)
def bench(request, tmp_path_factory):
    bench = Bench(request.param(), tmp_path_factory.mktemp("certify"))
    yield bench
    bench.stop()


@pytest.mark.parametrize("kind", [Boto3, MinioPy, S5cmd, Rclone], ids=lambda tool: tool.name)
def test_tool_does_what_the_matrix_says(bench, kind):
    tool, expectations = kind(), Expectations()
    tool.prepare(None)
    cells = list(bench.run(tool, tool.cases()))
    assert cells
    wrong = [f"{cell.case}: {cell.result} ({cell.detail}): {said}" for cell in cells if (said := expectations.differs(cell))]
    assert not wrong, "\n".join(wrong)


def test_every_tool_says_why_it_leaves_a_case_out():
    for tool in TOOLS:
        assert tool().cases(), tool.name
