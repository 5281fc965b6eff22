//! The AWS SDK for Rust.

mod cases;

use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Config, Region};
use certify_common::{Target, report};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let target = Target::from_env();
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(Credentials::from_keys(&target.access, &target.secret, None))
        .region(Region::new("us-east-1"))
        .endpoint_url(&target.endpoint)
        .force_path_style(true)
        .build();
    let s3 = cases::S3 {
        client: Client::from_conf(config),
        bucket: target.bucket.clone(),
    };
    for case in &target.cases {
        report(case, s3.run(case).await);
    }
}
