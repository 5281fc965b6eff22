//! Keys of `provider = "vault"`.

use super::super::Fallback::{Absent, Required, Value};
use super::super::table::{row, secret};
use super::super::{Kind, Section};

pub(in crate::schema) const VAULT: Section = Section {
    path: "keys.<name> vault",
    header: "[keys.<name>] provider = \"vault\"",
    doc: "A Transit key of OpenBao or HashiCorp Vault, see docs/kms/vault.md. Files with tokens, secret ids and JWTs are \
          read again when they are needed; the other files are read at start and on SIGHUP.",
    rows: &[
        row(
            "endpoints",
            Kind::Urls,
            Required,
            "The servers that know the key, in order of preference: the nodes of a cluster, or one address before them. `http://` only for this machine.",
        ),
        row(
            "mount",
            Kind::Text,
            Value("\"transit\""),
            "Path at which the Transit engine is mounted.",
        ),
        row("key", Kind::Text, Required, "Name of the key in Transit."),
        row(
            "namespace",
            Kind::Text,
            Absent("the root namespace"),
            "Namespace of the mount and of the login.",
        ),
        row(
            "ca_file",
            Kind::Path,
            Absent("the system's certificates"),
            "Certificates to trust for the servers, PEM.",
        ),
        row(
            "client_cert",
            Kind::Path,
            Absent("none"),
            "This gateway's certificate chain, PEM, for servers that ask for one and for `auth = \"cert\"`.",
        ),
        row(
            "client_key",
            Kind::Path,
            Absent("none"),
            "Its private key, PEM.",
        ),
        row(
            "auth",
            Kind::Choice(&["token", "approle", "kubernetes", "aws", "cert"]),
            Value("\"token\""),
            "How the gateway logs in. `token` needs one of `token`, `token_env` and `token_file`; `approle` needs `role_id` and a secret id unless the role works without; `kubernetes` and `aws` need `role`; `cert` needs `client_cert`.",
        ),
        row(
            "auth_mount",
            Kind::Text,
            Absent("the method's name"),
            "Path at which the authentication method is mounted.",
        ),
        secret("token", Kind::Text, "The token, in the clear."),
        secret(
            "token_env",
            Kind::Variable,
            "Environment variable that holds the token.",
        ),
        row(
            "token_file",
            Kind::Path,
            Absent("none"),
            "File that holds the token, for example the sink of an agent. A changed file is taken over within seconds.",
        ),
        row(
            "role_id",
            Kind::Text,
            Absent("none"),
            "The AppRole's role id.",
        ),
        secret("secret_id", Kind::Text, "Its secret id, in the clear."),
        secret(
            "secret_id_env",
            Kind::Variable,
            "Environment variable that holds the secret id.",
        ),
        row(
            "secret_id_file",
            Kind::Path,
            Absent("none"),
            "File that holds the secret id; read at every login.",
        ),
        row(
            "role",
            Kind::Text,
            Absent("for `cert`: any that fits"),
            "Name of the role, for `kubernetes`, `aws` and `cert`.",
        ),
        row(
            "jwt_file",
            Kind::Path,
            Value("\"/var/run/secrets/kubernetes.io/serviceaccount/token\""),
            "The service account's token, for `kubernetes`; read at every login.",
        ),
        row(
            "server_id",
            Kind::Text,
            Absent("none"),
            "For `aws`: value of the signed header `X-Vault-AWS-IAM-Server-ID`, where the server asks for one.",
        ),
        row(
            "sts_region",
            Kind::Text,
            Absent("the global STS, signed for us-east-1"),
            "For `aws`: region whose STS the login is signed for.",
        ),
    ],
};
