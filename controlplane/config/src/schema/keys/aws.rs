//! What keys in AWS KMS add.

use crate::schema::Fallback::{Absent, Required, Value};
use crate::schema::table::row;
use crate::schema::{Kind, SECOND, Section};

pub(in crate::schema) const AWS_KMS: Section = Section {
    path: "keys.<name> aws-kms",
    header: "[keys.<name>] provider = \"aws-kms\"",
    doc: "A symmetric key in AWS KMS, see docs/kms/aws-kms.md. Credentials come from where AWS tools look for them: the \
          environment, the shared files, a web identity token, a container's or an instance's role.",
    rows: &[
        row(
            "key_id",
            Kind::Text,
            Required,
            "The key's id, ARN, alias (`alias/NAME`) or alias ARN.",
        ),
        row(
            "previous_key_ids",
            Kind::Texts("key ids or key ARNs"),
            Value("[]"),
            "Other KMS keys that may open objects sealed earlier under this name. With an alias: if there are any, they and the alias's present key are all that may.",
        ),
        row(
            "region",
            Kind::Text,
            Absent("the ARN's, else `AWS_REGION`, else `AWS_DEFAULT_REGION`"),
            "The region where the key is asked for.",
        ),
        row(
            "regions",
            Kind::Texts("regions, for example [\"eu-west-1\", \"us-east-1\"]"),
            Absent("`region` alone"),
            "In place of `region`, for a multi-Region key: further regions are asked when the first does not answer.",
        ),
        row(
            "endpoint",
            Kind::Url,
            Absent("AWS's own in the region"),
            "Where KMS is, for example a VPC endpoint.",
        ),
        row(
            "endpoints",
            Kind::Texts("URLs, one for each of `regions`"),
            Absent("AWS's own in each region"),
            "In place of `endpoint`, in the order of `regions`.",
        ),
        row(
            "profile",
            Kind::Text,
            Absent("`AWS_PROFILE`, else `default`"),
            "Profile of the shared AWS files.",
        ),
        row(
            "ca_file",
            Kind::Path,
            Absent("the system's certificates"),
            "Certificates to trust for KMS, PEM. Not for where credentials come from.",
        ),
        row(
            "connect_timeout",
            Kind::Duration {
                min: 100,
                max: 60 * SECOND,
            },
            Value("\"2s\""),
            "A connection to KMS, name resolution and TLS included.",
        ),
        row(
            "read_timeout",
            Kind::Duration {
                min: 100,
                max: 60 * SECOND,
            },
            Value("\"5s\""),
            "KMS's answer to one call.",
        ),
    ],
};
