"""Fixtures: a store, a gateway before it, and clients for both.

Every test that asks for `place` (or `s3`, `wire`, …) runs once for each pair of store and driver.
With SEALGATE_E2E_DIRECT=1 there is no gateway: the clients talk to the store itself, which checks
that the suite expects what a plain S3 store does.
"""

import ctypes
import itertools
import os
import subprocess
from pathlib import Path

import pytest

from harness import DIRECT, gateway as gw, providers, weed as wd
from harness.aws import Moto
from harness.openbao import OpenBao
from harness.rawstore import FsRaw, S3Raw
from harness.wire import S3Wire


def kernel_has_io_uring() -> bool:
    """Asks the kernel for a ring, as the gateway does."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(425, 4, ctypes.create_string_buffer(120))
    if fd >= 0:
        os.close(fd)
    return fd >= 0


IO_URING = kernel_has_io_uring()
# "auto" takes io_uring where the kernel gives it; where it does not, auto is epoll and one run is enough.
DRIVERS = {"uring": "auto", "epoll": "epoll"} if IO_URING else {"epoll": "auto"}
PLACES = ["direct"] if DIRECT else [f"{s}-{d}" for s, d in itertools.product(("seaweed", "fs"), DRIVERS)]


def pytest_report_header(config):
    return f"places: {', '.join(PLACES)}; io_uring: {'yes' if IO_URING else 'refused by this kernel'}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    # Workers take whole groups: the tests of one place share its servers, the rest goes by file. Long ones go first.
    for item in items:
        callspec = getattr(item, "callspec", None)
        group = callspec.params.get("place") if callspec else None
        item.add_marker(pytest.mark.xdist_group(group or item.path.stem))
    items.sort(key=lambda item: item.path.stem != "test_kms_chaos")
    if DIRECT:
        gone = [i for i in items if i.get_closest_marker("gateway")]
        items[:] = [i for i in items if not i.get_closest_marker("gateway")]
        config.hook.pytest_deselected(items=gone)


class Place:
    """One store with a gateway before it."""

    def __init__(self, name: str, folder: Path):
        self.name, self.folder = name, folder
        self.store, _, driver = name.partition("-")
        self.driver = DRIVERS.get(driver, "")
        self.weed = self.gateway = None
        self.root = folder / "objects"
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    def start(self) -> None:
        if self.store != "fs":
            self.weed = wd.Weed(self.folder / "weed")
        if self.store == "direct":
            self.endpoint, self.access, self.secret = self.weed.endpoint, wd.ACCESS, wd.SECRET
        else:
            if self.store == "fs":
                self.root.mkdir()
            self.gateway = self.start_gateway("gateway")
            self.endpoint, self.access, self.secret = self.gateway.endpoint, gw.ACCESS, gw.SECRET
        self.s3 = self.client()

    def backend(self) -> str:
        """The [backend] table for a gateway before this store."""
        if self.store == "fs":
            return gw.fs_backend(self.root)
        return gw.s3_backend(self.weed.endpoint, wd.ACCESS, wd.SECRET)

    def start_gateway(self, name: str, **options) -> gw.Gateway:
        """Another gateway before the same store; with the same keys unless `ring` says otherwise."""
        if self.gateway is not None:
            options.setdefault("ring", self.gateway.ring)
        options.setdefault("driver", self.driver)
        return gw.Gateway(self.folder / name, self.backend(), **options)

    def client(self, **options):
        return wd.client(self.endpoint, self.access, self.secret, **options)

    def wire(self) -> S3Wire:
        return S3Wire(self.endpoint, self.access, self.secret)

    def raw(self):
        """The store without the gateway: the ciphertext and the stored metadata."""
        return FsRaw(self.root) if self.store == "fs" else S3Raw(self.weed.client())

    def raw_folder(self) -> Path:
        """The folder that holds every byte the store keeps."""
        return self.root if self.store == "fs" else self.weed.data

    def bucket(self, name: str) -> str:
        try:
            self.s3.create_bucket(Bucket=name)
        except (self.s3.exceptions.BucketAlreadyOwnedByYou, self.s3.exceptions.BucketAlreadyExists):
            pass
        return name

    def stop(self) -> None:
        if self.gateway:
            self.gateway.stop()
        if self.weed:
            self.weed.stop()


@pytest.fixture(scope="session", params=PLACES)
def place(request, tmp_path_factory):
    place = Place(request.param, tmp_path_factory.mktemp(request.param))
    yield place
    place.stop()


@pytest.fixture(scope="session")
def weed(tmp_path_factory):
    """A store for tests that start gateways of their own."""
    server = wd.Weed(tmp_path_factory.mktemp("weed"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def s3(place):
    """A boto3 client of the gateway."""
    return place.s3


@pytest.fixture(scope="session")
def bucket(place):
    """A bucket that all tests share; each test keeps to its own `prefix`."""
    return place.bucket("e2e-data")


_serial = itertools.count()


@pytest.fixture
def prefix():
    """A key prefix of this test alone."""
    return f"t{next(_serial):05d}/"


@pytest.fixture
def wire(place):
    return place.wire()


@pytest.fixture
def gateways(place, tmp_path):
    """Starts further gateways before the same store; stops them at the end of the test."""
    started = []

    def start(**options):
        gateway = place.start_gateway(f"extra-{next(_serial)}", **options)
        started.append(gateway)
        return gateway

    yield start
    for gateway in started:
        gateway.stop(5)


@pytest.fixture
def fs_gateway(tmp_path):
    """Starts gateways over directories of this test's own."""
    started = []

    def start(name: str = "own", **options):
        root = tmp_path / "objects"
        root.mkdir(exist_ok=True)
        gateway = gw.Gateway(tmp_path / name, gw.fs_backend(root), **options)
        started.append(gateway)
        return gateway

    yield start
    for gateway in started:
        gateway.stop(5)


@pytest.fixture(scope="module")
def openbao_server(tmp_path_factory):
    server = OpenBao(tmp_path_factory.mktemp("openbao"))
    yield server
    server.kill()


@pytest.fixture(scope="module")
def moto_server(tmp_path_factory):
    server = Moto(tmp_path_factory.mktemp("moto"))
    yield server
    server.stop()


@pytest.fixture
def token(tmp_path, monkeypatch):
    """A SoftHSM2 token with one key; gives the arguments that the documented program takes before the key's name."""
    module = next((m for m in providers.MODULES if Path(m).exists()), None)
    assert module, "SoftHSM2 is missing: run the suite with ./test, which installs it"
    (tmp_path / "tokens").mkdir()
    conf = tmp_path / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {tmp_path / 'tokens'}\nobjectstore.backend = file\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(conf))
    pins = ["--so-pin", "08154711", "--pin", "47110815"]
    subprocess.run(["softhsm2-util", "--init-token", "--free", "--label", "gateway", *pins], check=True, capture_output=True)
    arguments = [module, "gateway", "47110815", "sealgate"]
    providers.make_key(arguments, 1)
    return arguments


@pytest.fixture
def kit(request, tmp_path):
    """The key provider that the test's parameter names."""
    kind = providers.KITS[request.param]
    kit = kind(tmp_path, *[request.getfixturevalue(name) for name in kind.stands_on])
    yield kit
    kit.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Puts the end of the gateway's and the store's log under a failed test."""
    report = yield
    if report.failed:
        place = item.funcargs.get("place")
        if place is not None and place.gateway and place.gateway.daemon:
            report.sections.append((f"gateway log ({place.name})", place.gateway.daemon.tail(limit=1500)))
        elif place is not None and place.weed:
            report.sections.append(("store log", place.weed.daemon.tail(limit=1000)))
    return report
