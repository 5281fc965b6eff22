//! The table is whole, and is what the documentation says.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use super::*;

const BEGIN: &str =
    "<!-- operations: made of the table in dataplane/gateway/src/treatment.rs -->\n";
const END: &str = "<!-- end of operations -->\n";

#[test]
fn every_operation_that_the_router_knows_stands_in_the_table_once() {
    let mut times: HashMap<&str, usize> = HashMap::new();
    for row in TABLE.iter().flat_map(|(_, rows)| *rows) {
        *times.entry(row.operation.as_str()).or_default() += 1;
    }
    for operation in Operation::ALL {
        assert_eq!(times.remove(operation.as_str()), Some(1), "{operation}");
    }
    assert!(times.is_empty(), "{times:?}");
}

#[test]
fn an_operation_that_is_refused_says_why() {
    for row in TABLE.iter().flat_map(|(_, rows)| *rows) {
        let refused = row.treatment == Treatment::Refused;
        assert!(!refused || row.note.len() > 20, "{}", row.operation);
        assert_eq!(treatment_of(&row.operation), (row.treatment, row.note));
        assert_eq!(class_of(&row.operation), row.class);
    }
}

/// How a request for an operation looks.
fn request(operation: &Operation) -> String {
    use Operation as O;
    // Chosen by more than the name of a sub-resource.
    let plain = match operation {
        O::GetObject => "GET /bucket/key",
        O::HeadObject => "HEAD /bucket/key",
        O::PutObject => "PUT /bucket/key",
        O::PostObject => "POST /bucket, multipart/form-data",
        O::CopyObject => "PUT /bucket/key, x-amz-copy-source",
        O::DeleteObject => "DELETE /bucket/key",
        O::UploadPart => "PUT /bucket/key?partNumber&uploadId",
        O::UploadPartCopy => "PUT /bucket/key?partNumber&uploadId, x-amz-copy-source",
        O::CompleteMultipartUpload => "POST /bucket/key?uploadId",
        O::AbortMultipartUpload => "DELETE /bucket/key?uploadId",
        O::ListParts => "GET /bucket/key?uploadId",
        O::ListBuckets => "GET /",
        O::ListObjects => "GET /bucket",
        O::ListObjectsV2 => "GET /bucket?list-type=2",
        O::CreateBucket => "PUT /bucket",
        O::DeleteBucket => "DELETE /bucket",
        O::HeadBucket => "HEAD /bucket",
        O::CorsPreflight => "OPTIONS",
        O::ListBucketAnalyticsConfigurations => "GET /bucket?analytics",
        O::ListBucketIntelligentTieringConfigurations => "GET /bucket?intelligent-tiering",
        O::ListBucketInventoryConfigurations => "GET /bucket?inventory",
        O::ListBucketMetricsConfigurations => "GET /bucket?metrics",
        _ => "",
    };
    if !plain.is_empty() {
        return plain.to_owned();
    }
    let (method, of_object, name) = operation
        .sub_resource()
        .unwrap_or_else(|| panic!("the router has no request for {operation}"));
    let path = if of_object { "/bucket/key" } else { "/bucket" };
    let listed = ["analytics", "intelligent-tiering", "inventory", "metrics"];
    let id = if listed.contains(&name) { "&id" } else { "" };
    format!("{method} {path}?{name}{id}")
}

fn tables() -> String {
    let mut page = String::new();
    for (title, rows) in TABLE {
        let _ = write!(
            page,
            "\n### {title}\n\n| Operation | Request | Sealgate | Action | Notes |\n|---|---|---|---|---|\n"
        );
        for row in *rows {
            let treatment = match row.treatment {
                Treatment::Sealed => "sealed",
                Treatment::Rewritten => "rewritten",
                Treatment::Passed => "passed through",
                Treatment::Refused => "refused",
            };
            let class = match row.class {
                Some(Action::Read) => "`read`",
                Some(Action::Write) => "`write`",
                Some(Action::List) => "`list`",
                Some(Action::Delete) => "`delete`",
                Some(Action::Admin) => "`admin`",
                _ => "",
            };
            let _ = writeln!(
                page,
                "| {} | `{}` | {treatment} | {class} | {} |",
                row.operation,
                request(&row.operation),
                row.note
            );
        }
    }
    page.push('\n');
    page
}

#[test]
fn the_documentation_is_made_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/s3-operations.md");
    let page = std::fs::read_to_string(&path).expect("docs/s3-operations.md");
    let (before, rest) = page.split_once(BEGIN).expect("where the tables begin");
    let (_, after) = rest.split_once(END).expect("where the tables end");
    let wanted = [before, BEGIN, &tables(), END, after].concat();
    if std::env::var_os("SEALGATE_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &wanted).expect("writes");
        return;
    }
    assert!(
        page == wanted,
        "docs/s3-operations.md is not what the table says: run this test with SEALGATE_UPDATE_DOCS=1"
    );
}
