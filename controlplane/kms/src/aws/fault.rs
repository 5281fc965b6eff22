//! What KMS's errors mean.
//!
//! Codes: <https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html> and the pages of GenerateDataKey,
//! Decrypt and ReEncrypt beside it.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::RequestId;

use super::RETRY_AFTER;
use crate::error::KeyError;

/// Longest text of AWS's that goes into a message, bytes.
const TEXT_MAX: usize = 300;

/// A call that failed.
pub(super) struct Fault {
    /// KMS's own code, or what came instead of one.
    what: What,
    request: Option<String>,
}

enum What {
    /// An error that KMS named.
    Code {
        code: String,
        text: String,
    },
    /// An answer that is not KMS's.
    Status(u16),
    /// A success that cannot be read.
    Garbage,
    Late,
    /// No connection, or one that broke.
    Connection(String),
    /// There are no credentials. `true` where the configuration is at fault.
    Credentials(String, bool),
    /// The request could not be made.
    Unmade(String),
}

/// What a code comes to.
enum Class {
    Denied(&'static str),
    Invalid(&'static str),
    Throttled,
    Unavailable(&'static str),
}

impl Fault {
    pub(super) fn new<E>(error: &SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + RequestId + Error + 'static,
    {
        let request = error.request_id().map(str::to_owned);
        let what = match error {
            SdkError::ServiceError(e) => match e.err().code() {
                Some(code) => What::Code {
                    code: code.to_owned(),
                    text: e.err().message().unwrap_or_default().to_owned(),
                },
                None => What::Status(e.raw().status().as_u16()),
            },
            SdkError::ResponseError(e) => match e.raw().status() {
                status if status.is_success() => What::Garbage,
                status => What::Status(status.as_u16()),
            },
            SdkError::TimeoutError(_) => What::Late,
            SdkError::DispatchFailure(e) if e.is_timeout() => What::Late,
            other => match cause::<CredentialsError>(other) {
                Some(e) => What::Credentials(
                    chain(e),
                    matches!(e, CredentialsError::InvalidConfiguration(_)),
                ),
                None if matches!(other, SdkError::ConstructionFailure(_)) => {
                    What::Unmade(chain(other))
                }
                None => What::Connection(chain(other)),
            },
        };
        Self { what, request }
    }

    /// Whether fresh credentials may be what is missing.
    pub(super) fn stale_credentials(&self) -> bool {
        match &self.what {
            What::Code { code, .. } => matches!(
                code.as_str(),
                "ExpiredTokenException"
                    | "ExpiredToken"
                    | "UnrecognizedClientException"
                    | "InvalidClientTokenId"
                    | "InvalidSignatureException"
                    | "IncompleteSignature"
            ),
            What::Credentials(..) => true,
            _ => false,
        }
    }

    /// The error, with what to do about it. Keys and principals are not named: the request's id finds them in
    /// CloudTrail.
    pub(super) fn describe(self, action: &str, name: &str, region: &str) -> KeyError {
        let place = format!("{action} with key {name:?} in {region}");
        let unavailable = |reason| KeyError::Unavailable {
            reason,
            retry_after: RETRY_AFTER,
        };
        let (code, text) = match self.what {
            What::Code { code, text } => (code, text),
            What::Status(429) => ("HTTP status 429".into(), String::new()),
            What::Status(status) => {
                return unavailable(format!("{place}: HTTP status {status} without a KMS error"));
            }
            What::Garbage => return unavailable(format!("{place}: an answer that is not KMS's")),
            What::Late => return unavailable(format!("{place}: no answer in time")),
            What::Connection(why) => {
                return unavailable(format!("{place}: no connection to KMS: {why}"));
            }
            What::Credentials(why, true) => {
                return KeyError::Denied(format!(
                    "{place}: the AWS credentials are configured wrongly: {why}"
                ));
            }
            // Instance metadata, token files and SSO caches come and go without anybody mending the gateway.
            What::Credentials(why, false) => {
                return unavailable(format!("{place}: no AWS credentials: {why}"));
            }
            What::Unmade(why) => return KeyError::Denied(format!("{place}: {why}")),
        };
        let request = self.request.map(|id| format!(" (request {id})"));
        let said = format!(
            "{place}: {code}{}{}{}",
            request.unwrap_or_default(),
            if text.is_empty() { "" } else { ": " },
            without_arns(&text)
        );
        match classify(&code, &text) {
            Class::Denied(remedy) => KeyError::Denied(format!("{said}; {remedy}")),
            Class::Invalid(meaning) => KeyError::Invalid(format!("{said}; {meaning}")),
            Class::Throttled => KeyError::Throttled {
                reason: said,
                retry_after: RETRY_AFTER,
            },
            Class::Unavailable("") => unavailable(said),
            Class::Unavailable(remedy) => unavailable(format!("{said}; {remedy}")),
        }
    }
}

fn classify(code: &str, text: &str) -> Class {
    use Class::{Denied, Invalid, Throttled, Unavailable};
    // The namespace of a qualified shape name is not a part of the code.
    let code = code.rsplit('#').next().unwrap_or(code);
    match code {
        "AccessDeniedException" | "AccessDenied" | "NotAuthorized" => Denied(
            "allow kms:GenerateDataKey, kms:Decrypt, kms:ReEncryptFrom and kms:ReEncryptTo in the key policy and in the \
             gateway's IAM policy (docs/kms/aws-kms.md)",
        ),
        "DisabledException" => Denied("the key is disabled: enable it (aws kms enable-key)"),
        "KMSInvalidStateException" | "KmsInvalidStateException" => invalid_state(text),
        "NotFoundException" => Denied(
            "the key or the alias does not exist in this account and region: correct key_id or the region",
        ),
        "IncorrectKeyException" => Denied(
            "another key than the one asked for wrapped this: if an alias moved, add the id of the key it pointed to \
             before to previous_key_ids",
        ),
        "InvalidGrantTokenException" | "InvalidGrantIdException" => {
            Denied("the grant does not hold (any more): make it again")
        }
        "InvalidKeyUsageException" => Denied(
            "the key is not a symmetric one for encryption and decryption: use a key of the spec SYMMETRIC_DEFAULT",
        ),
        "InvalidArnException" | "ValidationException" | "UnsupportedOperationException" => {
            Denied("KMS does not accept the request: check key_id and the region")
        }
        "InvalidCiphertextException" => Invalid(
            "the wrapped key was changed, or wrapped by another key or for another key name",
        ),
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "IncompleteSignature"
        | "OptInRequired" => Denied("AWS does not know these credentials: correct them"),
        "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "RequestTimeTooSkewed"
        | "RequestExpired" => signature(code, text),
        // Temporary credentials: their source makes new ones.
        "ExpiredTokenException" | "ExpiredToken" => Unavailable(
            "the credentials have expired: if they do not renew themselves, replace them",
        ),
        "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "LimitExceededException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "RequestThrottledException"
        | "RequestThrottled"
        | "SlowDown"
        | "HTTP status 429" => Throttled,
        "KMSInternalException"
        | "KmsInternalException"
        | "DependencyTimeoutException"
        | "KeyUnavailableException"
        | "InternalFailure"
        | "InternalError"
        | "InternalServerError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "RequestTimeout"
        | "RequestTimeoutException" => Unavailable(""),
        _ => Unavailable("this is not an error that KMS documents"),
    }
}

/// States of a key: <https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html>. The message names it.
fn invalid_state(text: &str) -> Class {
    let text = text.to_ascii_lowercase();
    if text.contains("pending deletion") || text.contains("pendingdeletion") {
        return Class::Denied(
            "the key is going to be deleted, and every object sealed with it with it: cancel that now \
             (aws kms cancel-key-deletion), then enable the key",
        );
    }
    if ["creating", "updating", "unavailable"]
        .iter()
        .any(|state| text.contains(state))
    {
        return Class::Unavailable("");
    }
    Class::Denied("the key's state does not allow this: see aws kms describe-key")
}

/// The SDK learns the clock's error from the answer and signs the next request by AWS's clock, so a retry succeeds.
fn signature(code: &str, text: &str) -> Class {
    let clock = ["expired", "not yet current", "earlier than", "later than"];
    if code.starts_with("Request") || clock.iter().any(|words| text.contains(words)) {
        return Class::Unavailable(
            "this machine's clock is wrong by more than five minutes: set it (NTP)",
        );
    }
    Class::Denied(
        "the secret access key does not belong to the access key: correct the credentials",
    )
}

/// A text without ARNs, cut to a bearable length and one line.
fn without_arns(text: &str) -> String {
    let words = text.split_whitespace().map(|word| match word.find("arn:") {
        Some(at) => {
            let kind = match &word[at..] {
                arn if arn.contains(":key/") => "(the key)",
                arn if arn.contains(":alias/") => "(the alias)",
                _ => "(an ARN)",
            };
            format!("{}{kind}", &word[..at])
        }
        None => word.to_owned(),
    });
    let mut text = words.collect::<Vec<_>>().join(" ");
    if text.len() > TEXT_MAX {
        let end = (0..=TEXT_MAX).rev().find(|n| text.is_char_boundary(*n));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}

/// The first error of a type among the causes.
fn cause<'e, T: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e T> {
    std::iter::successors(Some(error), |e| (*e).source()).find_map(|e| e.downcast_ref())
}

/// An error and its causes, those that only repeat another left out.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut said: Vec<String> = Vec::new();
    for cause in std::iter::successors(Some(error), |e| (*e).source()) {
        let text = without_arns(&cause.to_string());
        if !said.iter().any(|earlier| earlier.contains(&text)) {
            said.push(text);
        }
    }
    said.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_arn_is_left_in_a_message() {
        let text = "User: arn:aws:sts::111122223333:assumed-role/gw/i-1 is not authorized to perform: kms:Decrypt on \
                    resource: arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab because no \
                    identity-based policy allows it";
        let said = without_arns(text);
        assert_eq!(
            said,
            "User: (an ARN) is not authorized to perform: kms:Decrypt on resource: (the key) because no \
             identity-based policy allows it"
        );
        let long = without_arns(&"ü".repeat(400));
        assert!(long.len() <= TEXT_MAX + '…'.len_utf8() && long.ends_with('…'));
    }
}
