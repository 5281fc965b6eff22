"""Key providers as an operator sees them: a real server or token, its tools, and what the runbooks do with it."""

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from . import ROOT, binary, keyring
from .aws import HERE, Front, Moto, environment, key_table
from .gateway import Gateway, q
from .kmip import PyKmip
from .openbao import OpenBao

OPENER = ROOT / "docs" / "tools" / "sealgate_open.py"


class Page:
    """A page of the documentation, by chapters."""

    def __init__(self, path: str):
        self.text = (ROOT / path).read_text()

    def fenced(self, chapter: str, language: str = "sh") -> list[str]:
        found = re.split(r"^##? ", self.text, flags=re.M)
        (text,) = [t for t in found if t.startswith(chapter + "\n")]
        blocks = re.findall(rf"^( *)```{language}\n(.*?)^\1```", text, re.M | re.S)
        return [textwrap.dedent(block) for _, block in blocks]

    def script(self, chapter: str, mark: str) -> str:
        (found,) = [block for block in self.fenced(chapter) if mark in block]
        return found


RUNBOOKS = Page("docs/kms/runbooks.md")


def documented(page: str, code: str, *arguments: str) -> bytes:
    """Runs the programs of a documentation page, then `code`, which sees them and the arguments in `a` and sets `kek`."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/kms" / page).read_text(), re.S)
    text = "\n".join([*blocks, "import sys", "a = sys.argv[1:]", code, "print(kek.hex())"])
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "controlplane/kms/tests/data"), "PYTHONWARNINGS": "ignore"}
    argv = [sys.executable, "-c", text, *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    return bytes.fromhex(done.stdout.split()[-1])


MODULES = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so"]
MAKE_KEY = """
import sys, pkcs11
module, token, pin, label, number = sys.argv[1:]
with pkcs11.lib(module).get_token(token_label=token).open(rw=True, user_pin=pin) as session:
    template = {pkcs11.Attribute.SENSITIVE: True, pkcs11.Attribute.EXTRACTABLE: False}
    session.generate_key(pkcs11.KeyType.AES, 256, label=label, id=bytes([int(number)]), store=True, template=template)
"""


def make_key(token: list[str], number: int) -> None:
    subprocess.run([sys.executable, "-c", MAKE_KEY, *token, str(number)], check=True)


AWS_SECRET = "aws-secret-access-key-of-the-operator"


class Desk:
    """An operator's shell: the page's variables, and the programs that it names."""

    def __init__(self, folder: Path, **variables: str):
        self.folder, self.bin = folder / "desk", folder / "desk" / "bin"
        self.bin.mkdir(parents=True)
        (self.bin / "sealgate").symlink_to(binary())
        (self.bin / "bao").symlink_to(OpenBao.program())
        shutil.copy(OPENER, self.folder)
        self.variables = variables

    def at(self, gateway: Gateway) -> None:
        """At the machine of this gateway: no other process is called sealgate there."""
        pidof = self.bin / "pidof"
        pidof.write_text(f'#!/bin/sh\n[ "$1" = sealgate ] && echo {gateway.daemon.pid}\n')
        pidof.chmod(0o755)
        self.variables |= {"CONFIG": str(gateway.config), "ADMIN": gateway.admin.removeprefix("http://")}

    def run(self, text: str, ok: bool = True) -> str:
        path = f"{self.bin}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        argv = environment(self.folder, PATH=path, **self.variables)
        # What is only looked at may find something broken.
        options = "-euo" if ok else "-uo"
        done = subprocess.run(
            [*argv, "bash", options, "pipefail", "-c", text], cwd=self.folder, capture_output=True, text=True, timeout=60
        )
        if ok:
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Kit:
    """A provider with a key `main`; `variables` are what its tools, and the gateway, want in the environment."""

    variables: dict[str, str] = {}
    # Its own way to rotate, in the runbooks.
    rotation = ""
    # Fixtures that it is made from.
    stands_on: tuple[str, ...] = ()
    # Whether it can be made to fail: break_down() and mend().
    breaks = False
    # Secrets that a gateway holds, as they are, while it uses the key.
    held: tuple[str, ...] = ()
    # [keys.main].
    table = ""

    def __init__(self, folder: Path):
        self.folder = folder
        self.opened: dict[bytes, bytes] = {}

    def close(self) -> None:
        pass

    def kek(self, desk: Desk, envelope: dict) -> bytes:
        """An object's KEK, unwrapped without the gateway as the provider's page shows it."""
        return self.kek_of(envelope)

    def unwrap(self, version: str, wrapped: bytes) -> bytes:
        """The same by the provider's own client."""
        raise NotImplementedError

    def kek_of(self, envelope: dict) -> bytes:
        """A KEK is unwrapped once, however many objects are under it."""
        wrapped = envelope["wrapped_kek"]
        if wrapped not in self.opened:
            self.opened[wrapped] = self.unwrap(envelope["key_version"], wrapped)
        return self.opened[wrapped]

    def secrets(self) -> dict[str, str | bytes]:
        """What nobody may find anywhere but where it is used."""
        return {}

    def key_ids(self) -> dict[str, str]:
        """What the provider calls the key."""
        return {}

    def rotate(self, desk: Desk, gateway: Gateway) -> None:
        desk.run(RUNBOOKS.script("Rotation", self.rotation))


class File(Kit):
    rotation = "# file"

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.ring = folder / "main.keys"
        keyring.create(self.ring)
        self.variables = {"RING": str(self.ring)}
        self.table = f'[keys.main]\nprovider = "file"\npath = {q(self.ring)}\n'

    def unwrap(self, version: str, wrapped: bytes) -> bytes:
        code = "kek = unwrap_kek(a[0], 'main', a[1], bytes.fromhex(a[2]))"
        return documented("file.md", code, str(self.ring), version, wrapped.hex())


class Bao(Kit):
    rotation = "# OpenBao"
    stands_on = ("openbao_server",)
    breaks = True

    def __init__(self, folder: Path, server: OpenBao):
        super().__init__(folder)
        self.server = server
        self.variables = {
            "BAO_ADDR": self.server.endpoint,
            "BAO_TOKEN": self.server.token,
            "UNSEAL_KEY": self.server.unseal_key,
            "TOKEN_FILE": str(folder / "token"),
            "SECRET_ID_FILE": str(folder / "secret-id"),
        }

        self.table = self.log_in()

    def log_in(self) -> str:
        """By an AppRole."""
        role_id, secret_id = self.server.approle("sealgate")
        self.write("secret-id", secret_id)
        return self.main(f'auth = "approle"\nrole_id = {q(role_id)}\nsecret_id_file = {q(self.folder / "secret-id")}\n')

    def main(self, login: str) -> str:
        return f'[keys.main]\nprovider = "vault"\nendpoints = [{q(self.server.endpoint)}]\nkey = "sealgate"\n{login}'

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.touch(0o600)
        path.write_text(text)

    def secrets(self) -> dict[str, str | bytes]:
        found = {"the unseal key": self.server.unseal_key, "the administrator's token": self.server.token}
        for path in (self.folder / "token", self.folder / "secret-id"):
            if path.exists():
                found[path.name] = path.read_text()
        return found

    def key_ids(self) -> dict[str, str]:
        return {"the key's path": f"transit/keys/{self.server.key}", "another": f"transit/decrypt/{self.server.key}"}

    def break_down(self) -> None:
        self.server.seal()

    def mend(self) -> None:
        self.server.unseal()

    def unwrap(self, version: str, wrapped: bytes) -> bytes:
        context = hashlib.sha256(b"sealgate/kek/v1\0main").digest()
        body = {"ciphertext": f"vault:v{version}:{b64(wrapped[1:])}", "context": b64(context)}
        return base64.b64decode(self.server.call("POST", "transit/decrypt/sealgate", body)["data"]["plaintext"])

    def kek(self, desk: Desk, envelope: dict) -> bytes:
        page = (ROOT / "docs/kms/vault.md").read_text()
        by_hand = re.findall(r"^```sh\n(.*?)^```", page, re.M | re.S)[-1]
        desk.run(by_hand.split("python3 sealgate_open.py")[0] + 'printf %s "$KEK" | base64 -d > kek\n')
        return (desk.folder / "kek").read_bytes()


class BaoToken(Bao):
    """With a token in a file, which somebody else looks after."""

    held = ("token",)

    def log_in(self) -> str:
        made = self.server.call("POST", "auth/token/create", {"policies": ["sealgate"], "period": "24h"})
        self.write("token", made["auth"]["client_token"])
        return self.main(f'auth = "token"\ntoken_file = {q(self.folder / "token")}\n')


class Aws(Kit):
    rotation = "# AWS KMS"
    stands_on = ("moto_server",)
    breaks = True
    held = ("the secret access key",)

    def __init__(self, folder: Path, server: Moto):
        super().__init__(folder)
        self.server, self.front, self.key_id = server, Front(server), server.key()
        kms = server.client("kms")
        if any(alias["AliasName"] == "alias/sealgate-main" for alias in kms.list_aliases()["Aliases"]):
            kms.delete_alias(AliasName="alias/sealgate-main")
        kms.create_alias(AliasName="alias/sealgate-main", TargetKeyId=self.key_id)
        self.variables = {
            "AWS_ACCESS_KEY_ID": "AKIDOPERATOR",
            "AWS_SECRET_ACCESS_KEY": AWS_SECRET,
            "AWS_DEFAULT_REGION": HERE,
            "AWS_ENDPOINT_URL": self.server.url,
            "KEY_ID": self.key_id,
        }
        self.table = key_table("main", "alias/sealgate-main", [self.front])

    def secrets(self) -> dict[str, str | bytes]:
        found = {f"answer {n}": text for n, text in enumerate(self.front.plaintexts)}
        return {"the secret access key": AWS_SECRET, **found}

    def key_ids(self) -> dict[str, str]:
        return {"the key's id": self.key_id, "an ARN": "arn:aws", "the alias": "alias/sealgate-main"}

    def break_down(self) -> None:
        self.front.error = (500, "KMSInternalException")

    def mend(self) -> None:
        self.front.error = None

    def unwrap(self, version: str, wrapped: bytes) -> bytes:
        context = {"sealgate-key": hashlib.sha256(b"sealgate/kek/v1\0main").hexdigest()}
        kms = self.server.client("kms")
        return kms.decrypt(KeyId=version.split("/")[0], CiphertextBlob=wrapped, EncryptionContext=context)["Plaintext"]

    def kek(self, desk: Desk, envelope: dict) -> bytes:
        page = (ROOT / "docs/kms/aws-kms.md").read_text()
        by_hand = re.findall(r"^```sh\n(.*?)^```", page, re.M | re.S)[-1]
        desk.run(by_hand.split("python3 sealgate_open.py")[0])
        return (desk.folder / "kek").read_bytes()

    def close(self) -> None:
        self.front.close()


class Token(Kit):
    """The arguments of the fixture of the same name."""

    rotation = "# PKCS#11"
    stands_on = ("token",)
    held = ("the PIN",)

    def __init__(self, folder: Path, arguments: list[str]):
        super().__init__(folder)
        self.arguments = arguments
        module, _, pin, _ = arguments
        self.variables = {"MODULE": module, "PIN": pin, "SOFTHSM2_CONF": os.environ["SOFTHSM2_CONF"]}
        quoted = dict(zip(("module", "token_label", "pin", "key_label"), map(q, arguments)))
        self.table = "".join(["[keys.main]\nprovider = \"pkcs11\"\n", *(f"{n} = {v}\n" for n, v in quoted.items())])

    def secrets(self) -> dict[str, str | bytes]:
        return {"the PIN": self.arguments[2]}

    def unwrap(self, version: str, wrapped: bytes) -> bytes:
        code = "kek = unwrap_kek(*a[:4], 'main', a[4], bytes.fromhex(a[5]))"
        return documented("pkcs11.md", code, *self.arguments, version, wrapped.hex())


class Kmip(Kit):
    breaks = True

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.server = PyKmip(folder / "kmip")
        self.uid = self.server.owner("create")
        self.table = "[keys.main]\n" + self.server.key_table(self.uid)

    def rotate(self, desk: Desk, gateway: Gateway) -> None:
        """As its page says of a server without ReKey."""
        old, self.uid = self.uid, self.server.owner("create")
        text = gateway.text.replace(f'uid = "{old}"', f'uid = "{self.uid}"')
        gateway.text = text.replace("old_uids = []", f'old_uids = ["{old}"]')
        gateway.write_config(gateway.text)

    def secrets(self) -> dict[str, str | bytes]:
        """The client's key, as it is in its file and as a number."""
        pem = (self.server.folder / "owner.key").read_bytes()
        number = load_pem_private_key(pem, None).private_numbers().private_value
        return {"the key's text": pem.decode().splitlines()[1], "the key": number.to_bytes(32, "big")}

    def break_down(self) -> None:
        self.server.kill()

    def mend(self) -> None:
        self.server.start()

    def unwrap(self, version: str, wrapped: bytes) -> bytes:
        code = (
            "import pathlib, pykmip_server\n"
            "with pykmip_server.owner(int(a[0]), pathlib.Path(a[1])) as client:\n"
            "    kek = unwrap_kek_binary(client, 'main', a[2], bytes.fromhex(a[3]))"
        )
        where = (str(self.server.port), str(self.server.folder))
        return documented("kmip.md", code, *where, version, wrapped.hex())

    def close(self) -> None:
        self.server.kill()


KITS = {"file": File, "vault": Bao, "vault token": BaoToken, "aws": Aws, "pkcs11": Token, "kmip": Kmip}
