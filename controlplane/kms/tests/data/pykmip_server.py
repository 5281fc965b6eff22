#!/usr/bin/env python3
"""A PyKMIP server's owner.

    pykmip_server.py serve PORT FOLDER        serves KMIP with the certificates in FOLDER
    pykmip_server.py create PORT FOLDER       makes an active AES-256 key and prints its identifier
    pykmip_server.py revoke PORT FOLDER UID   revokes it
FOLDER holds ca.pem, server.pem, server.key, owner.pem, owner.key.
"""
import logging
import pathlib
import sys

from kmip import enums
from kmip.pie.client import ProxyKmipClient
from kmip.services.server import KmipServer


def serve(port, folder):
    (folder / "policy").mkdir(exist_ok=True)
    server = KmipServer(
        hostname="127.0.0.1", port=port, certificate_path=str(folder / "server.pem"),
        key_path=str(folder / "server.key"), ca_path=str(folder / "ca.pem"), auth_suite="TLS1.2", config_path=None,
        log_path=str(folder / "server.log"), policy_path=str(folder / "policy"), enable_tls_client_auth=True,
        logging_level="INFO", database_path=str(folder / "kmip.db"))
    with server:
        server.serve()


def owner(port, folder):
    settings = folder / "client.conf"
    settings.write_text("[client]\n")
    return ProxyKmipClient(
        hostname="127.0.0.1", port=port, cert=str(folder / "owner.pem"), key=str(folder / "owner.key"),
        ca=str(folder / "ca.pem"), ssl_version="PROTOCOL_TLSv1_2", config="client", config_file=str(settings),
        kmip_version=enums.KMIPVersion.KMIP_1_4)


def main(what, port, folder, *more):
    port, folder = int(port), pathlib.Path(folder)
    logging.disable(logging.CRITICAL if what != "serve" else logging.NOTSET)
    if what == "serve":
        serve(port, folder)
        return
    with owner(port, folder) as client:
        if what == "create":
            masks = [enums.CryptographicUsageMask.ENCRYPT, enums.CryptographicUsageMask.DECRYPT]
            uid = client.create(enums.CryptographicAlgorithm.AES, 256, cryptographic_usage_mask=masks)
            client.activate(uid)
            print(uid)
        elif what == "revoke":
            client.revoke(enums.RevocationReasonCode.KEY_COMPROMISE, more[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
