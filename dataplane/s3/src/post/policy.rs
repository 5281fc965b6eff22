//! A form's policy (S3 API Reference, "Creating a POST Policy").

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::error::{ErrorCode, S3Error};
use crate::time;

enum Test {
    Equal(String),
    StartsWith(String),
}

/// A policy document, understood.
pub struct Policy {
    /// Milliseconds since the epoch.
    expiration: i64,
    /// Name of the field in lower case, what it must be, and the condition as it was written.
    conditions: Vec<(String, Test, String)>,
    least: u64,
    most: u64,
}

fn invalid(why: impl std::fmt::Display) -> S3Error {
    S3Error::with_message(
        ErrorCode::InvalidPolicyDocument,
        format!("Invalid Policy: {why}."),
    )
}

fn denied(why: impl std::fmt::Display) -> S3Error {
    S3Error::with_message(
        ErrorCode::AccessDenied,
        format!("Invalid according to Policy: {why}"),
    )
}

/// The two escapes that policies have and JSON has not: `\$` and `\v`.
fn to_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match characters.next() {
            Some('$') => out.push('$'),
            Some('v') => out.push_str("\\u000b"),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
            None => out.push('\\'),
        }
    }
    out
}

impl Policy {
    /// Reads a policy in base64.
    pub fn parse(encoded: &str) -> Result<Self, S3Error> {
        let compact: String = encoded.split_ascii_whitespace().collect();
        let bytes = STANDARD
            .decode(compact)
            .map_err(|_| invalid("it is not base64"))?;
        let text = String::from_utf8(bytes).map_err(|_| invalid("it is not UTF-8"))?;
        let document: Value =
            serde_json::from_str(&to_json(&text)).map_err(|_| invalid("Invalid JSON"))?;
        let document = document
            .as_object()
            .ok_or_else(|| invalid("Invalid JSON: it is no object"))?;
        let expiration = document
            .get("expiration")
            .ok_or_else(|| invalid("Policy missing expiration"))?;
        let expiration = expiration
            .as_str()
            .filter(|text| text.contains('T') && text.ends_with('Z'))
            .and_then(time::parse_iso8601)
            .ok_or_else(|| invalid(format_args!("Invalid 'expiration' value: {expiration}")))?;
        let conditions = document
            .get("conditions")
            .ok_or_else(|| invalid("Policy missing conditions"))?
            .as_array()
            .ok_or_else(|| invalid("Invalid 'conditions' value: must be a List"))?;
        let mut policy = Self {
            expiration,
            conditions: Vec::with_capacity(conditions.len()),
            least: 0,
            most: u64::MAX,
        };
        for condition in conditions {
            policy.add(condition)?;
        }
        Ok(policy)
    }

    fn add(&mut self, condition: &Value) -> Result<(), S3Error> {
        let shown = condition.to_string();
        match condition {
            Value::Object(pairs) => {
                let mut pairs = pairs.iter();
                let (Some((name, Value::String(value))), None) = (pairs.next(), pairs.next())
                else {
                    return Err(invalid(
                        "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified, a text",
                    ));
                };
                let test = Test::Equal(value.clone());
                // S3 shows the long form of it.
                let (dollar, text) = (Value::from(format!("${name}")), Value::from(&**value));
                let shown = format!(r#"["eq", {dollar}, {text}]"#);
                self.conditions
                    .push((name.to_ascii_lowercase(), test, shown));
            }
            Value::Array(parts) => {
                let [Value::String(operator), a, b] = &parts[..] else {
                    return Err(invalid(format_args!("Invalid Condition: {shown}")));
                };
                let operator = operator.to_ascii_lowercase();
                if operator == "content-length-range" {
                    let (Some(least), Some(most)) = (length(a), length(b)) else {
                        return Err(invalid(format_args!(
                            "Invalid Content-Length-Range: {shown}"
                        )));
                    };
                    self.least = self.least.max(least);
                    self.most = self.most.min(most);
                    return Ok(());
                }
                let (Value::String(name), Value::String(value)) = (a, b) else {
                    return Err(invalid(format_args!("Invalid Condition: {shown}")));
                };
                let name = name
                    .strip_prefix('$')
                    .ok_or_else(|| invalid(format_args!("Invalid Condition, no $: {shown}")))?;
                let test = match operator.as_str() {
                    "eq" => Test::Equal(value.clone()),
                    "starts-with" => Test::StartsWith(value.clone()),
                    _ => {
                        return Err(invalid(format_args!(
                            "Invalid Condition: unknown operation in {shown}"
                        )));
                    }
                };
                self.conditions
                    .push((name.to_ascii_lowercase(), test, shown));
            }
            _ => return Err(invalid(format_args!("Invalid Condition: {shown}"))),
        }
        Ok(())
    }

    /// Checks a form's fields: every condition holds, and every field has one. Gives the least and the most bytes that
    /// the file may have.
    pub(super) fn check(&self, fields: &[(&str, &str)], now: i64) -> Result<(u64, u64), S3Error> {
        if now.saturating_mul(1000) >= self.expiration {
            return Err(denied("Policy expired."));
        }
        for (name, test, shown) in &self.conditions {
            let value = fields.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
            let holds = value.is_some_and(|value| match test {
                Test::Equal(want) => value == want,
                // Each type of a list has to fit.
                Test::StartsWith(want) if name == "content-type" => value
                    .split(',')
                    .all(|one| one.trim_start().starts_with(want)),
                Test::StartsWith(want) => value.starts_with(want),
            });
            if !holds {
                return Err(denied(format_args!("Policy Condition failed: {shown}")));
            }
        }
        let extra: Vec<&str> = fields
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| !self.conditions.iter().any(|(n, ..)| n == name))
            .collect();
        if extra.is_empty() {
            return Ok((self.least, self.most));
        }
        Err(denied(format_args!(
            "Extra input fields: {}",
            extra.join(", ")
        )))
    }
}

/// A length, as a number or as text.
fn length(value: &Value) -> Option<u64> {
    match value {
        Value::Number(n) => n.as_u64(),
        Value::String(s) if s.bytes().all(|b| b.is_ascii_digit()) => s.parse().ok(),
        _ => None,
    }
}
