//! KMIP messages as this provider needs them: one model for both encodings (KMIP 2.1, 9; the same tags since 1.0).

use zeroize::Zeroizing;

/// A tag. Those that no table here names are [`Tag::OTHER`]: nothing is read from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tag(pub(super) u32);

macro_rules! tags {
    ($($constant:ident = $code:literal $name:literal;)*) => {
        impl Tag {
            $(pub(super) const $constant: Tag = Tag($code);)*

            /// All of them, with their names.
            pub(super) const TABLE: &[(Tag, &str)] = &[$((Tag::$constant, $name),)*];
        }
    };
}

tags! {
    ATTRIBUTES = 0x42_0125 "Attributes";
    AUTHENTICATED_DATA = 0x42_00fe "AuthenticatedEncryptionAdditionalData";
    AUTHENTICATION_TAG = 0x42_00ff "AuthenticatedEncryptionTag";
    BATCH_COUNT = 0x42_000d "BatchCount";
    BATCH_ITEM = 0x42_000f "BatchItem";
    BLOCK_CIPHER_MODE = 0x42_0011 "BlockCipherMode";
    CRYPTOGRAPHIC_ALGORITHM = 0x42_0028 "CryptographicAlgorithm";
    CRYPTOGRAPHIC_PARAMETERS = 0x42_002b "CryptographicParameters";
    DATA = 0x42_00c2 "Data";
    LINK = 0x42_004a "Link";
    LINKED_OBJECT = 0x42_004c "LinkedObjectIdentifier";
    LINK_TYPE = 0x42_004b "LinkType";
    NONCE = 0x42_003d "IVCounterNonce";
    OPERATION = 0x42_005c "Operation";
    PROTOCOL_VERSION = 0x42_0069 "ProtocolVersion";
    PROTOCOL_VERSION_MAJOR = 0x42_006a "ProtocolVersionMajor";
    PROTOCOL_VERSION_MINOR = 0x42_006b "ProtocolVersionMinor";
    REQUEST_HEADER = 0x42_0077 "RequestHeader";
    REQUEST_MESSAGE = 0x42_0078 "RequestMessage";
    REQUEST_PAYLOAD = 0x42_0079 "RequestPayload";
    RESPONSE_HEADER = 0x42_007a "ResponseHeader";
    RESPONSE_MESSAGE = 0x42_007b "ResponseMessage";
    RESPONSE_PAYLOAD = 0x42_007c "ResponsePayload";
    RESULT_MESSAGE = 0x42_007d "ResultMessage";
    RESULT_REASON = 0x42_007e "ResultReason";
    RESULT_STATUS = 0x42_007f "ResultStatus";
    TAG_LENGTH = 0x42_00ce "TagLength";
    UNIQUE_IDENTIFIER = 0x42_0094 "UniqueIdentifier";
    ATTRIBUTE = 0x42_0008 "Attribute";
    ATTRIBUTE_NAME = 0x42_000a "AttributeName";
    ATTRIBUTE_VALUE = 0x42_000b "AttributeValue";
}

impl Tag {
    /// Any tag that is not in the table.
    pub(super) const OTHER: Tag = Tag(0);

    pub(super) fn name(self) -> Option<&'static str> {
        Self::TABLE
            .iter()
            .find(|(tag, _)| *tag == self)
            .map(|(_, name)| *name)
    }

    pub(super) fn named(name: &str) -> Self {
        let found = Self::TABLE.iter().find(|(_, n)| *n == name);
        found.map_or(Self::OTHER, |(tag, _)| *tag)
    }
}

/// Operations.
pub(super) const ENCRYPT: u32 = 0x1f;
pub(super) const DECRYPT: u32 = 0x20;
pub(super) const GET_ATTRIBUTES: u32 = 0x0b;
/// Block cipher modes.
pub(super) const GCM: u32 = 0x09;
pub(super) const AES_KEY_WRAP_PADDING: u32 = 0x0c;
/// Cryptographic algorithms.
pub(super) const AES: u32 = 0x03;
/// Link types.
pub(super) const REPLACEMENT_OBJECT_LINK: u32 = 0x106;
pub(super) const REPLACED_OBJECT_LINK: u32 = 0x107;
/// Result statuses.
const SUCCESS: u32 = 0;
/// Result reasons.
const ITEM_NOT_FOUND: u32 = 0x01;
const AUTHENTICATION_NOT_SUCCESSFUL: u32 = 0x03;
pub(super) const OPERATION_NOT_SUPPORTED: u32 = 0x05;
pub(super) const CRYPTOGRAPHIC_FAILURE: u32 = 0x0a;
const ILLEGAL_OPERATION: u32 = 0x0b;
const PERMISSION_DENIED: u32 = 0x0c;
pub(super) const INTERNAL_SERVER_ERROR: u32 = 0x2a;
pub(super) const SERVER_LIMIT_EXCEEDED: u32 = 0x3a;
pub(super) const STORAGE_UNAVAILABLE: u32 = 0x44;
pub(super) const GENERAL_FAILURE: u32 = 0x100;
/// An enumeration's value that no table here names.
pub(super) const UNKNOWN: u32 = u32::MAX;

/// Enumerations: the tag, and its values with their names.
pub(super) const ENUMERATIONS: &[(Tag, &[(u32, &str)])] = &[
    (
        Tag::OPERATION,
        &[
            (ENCRYPT, "Encrypt"),
            (DECRYPT, "Decrypt"),
            (GET_ATTRIBUTES, "GetAttributes"),
        ],
    ),
    (
        Tag::BLOCK_CIPHER_MODE,
        &[(GCM, "GCM"), (AES_KEY_WRAP_PADDING, "AESKeyWrapPadding")],
    ),
    (Tag::CRYPTOGRAPHIC_ALGORITHM, &[(AES, "AES")]),
    (
        Tag::LINK_TYPE,
        &[
            (REPLACEMENT_OBJECT_LINK, "ReplacementObjectLink"),
            (REPLACED_OBJECT_LINK, "ReplacedObjectLink"),
        ],
    ),
    (
        Tag::RESULT_STATUS,
        &[
            (SUCCESS, "Success"),
            (1, "OperationFailed"),
            (2, "OperationPending"),
            (3, "OperationUndone"),
        ],
    ),
    (
        Tag::RESULT_REASON,
        &[
            (ITEM_NOT_FOUND, "ItemNotFound"),
            (0x02, "ResponseTooLarge"),
            (AUTHENTICATION_NOT_SUCCESSFUL, "AuthenticationNotSuccessful"),
            (0x04, "InvalidMessage"),
            (OPERATION_NOT_SUPPORTED, "OperationNotSupported"),
            (0x06, "MissingData"),
            (0x07, "InvalidField"),
            (0x08, "FeatureNotSupported"),
            (CRYPTOGRAPHIC_FAILURE, "CryptographicFailure"),
            (ILLEGAL_OPERATION, "IllegalOperation"),
            (PERMISSION_DENIED, "PermissionDenied"),
            (0x0d, "ObjectArchived"),
            (0x10, "KeyFormatTypeNotSupported"),
            (0x1a, "UsageLimitExceeded"),
            (0x24, "BadCryptographicParameters"),
            (0x28, "IllegalObjectType"),
            (0x29, "IncompatibleCryptographicUsageMask"),
            (INTERNAL_SERVER_ERROR, "InternalServerError"),
            (0x30, "InvalidObjectType"),
            (0x36, "ObjectDestroyed"),
            (0x37, "ObjectNotFound"),
            (0x39, "NotAuthorised"),
            (SERVER_LIMIT_EXCEEDED, "ServerLimitExceeded"),
            (0x3e, "UnsupportedCryptographicParameters"),
            (0x3f, "UnsupportedProtocolVersion"),
            (0x43, "WrongKeyLifecycleState"),
            (STORAGE_UNAVAILABLE, "ProtectionStorageUnavailable"),
            (GENERAL_FAILURE, "GeneralFailure"),
        ],
    ),
];

/// The name of an enumeration's value.
pub(super) fn enumeration_name(tag: Tag, value: u32) -> Option<&'static str> {
    let (_, values) = ENUMERATIONS.iter().find(|(t, _)| *t == tag)?;
    values
        .iter()
        .find(|(v, _)| *v == value)
        .map(|(_, name)| *name)
}

/// The value of a name, written with or without underscores: servers differ.
pub(super) fn enumeration_value(tag: Tag, name: &str) -> u32 {
    let letters = |text: &str| text.chars().filter(|c| *c != '_').collect::<String>();
    let name = letters(name);
    let values = ENUMERATIONS
        .iter()
        .find(|(t, _)| *t == tag)
        .map(|(_, values)| *values);
    let found = values.unwrap_or_default().iter().find(|(_, n)| *n == name);
    found.map_or(UNKNOWN, |(value, _)| *value)
}

/// A tagged value. Neither `Clone` nor `Debug`: byte strings may be keys.
#[derive(PartialEq, Eq)]
#[cfg_attr(test, derive(Debug, Clone))]
pub(super) struct Item {
    pub(super) tag: Tag,
    pub(super) value: Value,
}

/// What a tag holds. Kinds that this provider has no use for are [`Value::Other`].
#[derive(PartialEq, Eq)]
#[cfg_attr(test, derive(Debug, Clone))]
pub(super) enum Value {
    Structure(Vec<Item>),
    Integer(i32),
    Enumeration(u32),
    Text(String),
    Bytes(Zeroizing<Vec<u8>>),
    /// Dates, long integers, booleans, …
    Other,
}

impl Item {
    pub(super) fn structure(tag: Tag, items: Vec<Item>) -> Self {
        let value = Value::Structure(items);
        Self { tag, value }
    }

    pub(super) fn integer(tag: Tag, value: i32) -> Self {
        let value = Value::Integer(value);
        Self { tag, value }
    }

    pub(super) fn enumeration(tag: Tag, value: u32) -> Self {
        let value = Value::Enumeration(value);
        Self { tag, value }
    }

    pub(super) fn text(tag: Tag, text: &str) -> Self {
        let value = Value::Text(text.to_owned());
        Self { tag, value }
    }

    pub(super) fn bytes(tag: Tag, bytes: &[u8]) -> Self {
        let value = Value::Bytes(Zeroizing::new(bytes.to_vec()));
        Self { tag, value }
    }

    /// The first item of a structure with this tag.
    pub(super) fn get(&self, tag: Tag) -> Option<&Item> {
        find(self.items(), tag)
    }

    pub(super) fn items(&self) -> &[Item] {
        match &self.value {
            Value::Structure(items) => items,
            _ => &[],
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn as_bytes(&self) -> Option<&[u8]> {
        match &self.value {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub(super) fn as_enumeration(&self) -> Option<u32> {
        match self.value {
            Value::Enumeration(value) => Some(value),
            _ => None,
        }
    }
}

/// The first item with a tag.
pub(super) fn find(items: &[Item], tag: Tag) -> Option<&Item> {
    items.iter().find(|item| item.tag == tag)
}

/// A protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KmipVersion {
    /// Before the dot.
    pub major: u8,
    /// After it.
    pub minor: u8,
}

/// A request of one operation.
pub(super) fn request(version: KmipVersion, operation: u32, payload: Vec<Item>) -> Item {
    let version = vec![
        Item::integer(Tag::PROTOCOL_VERSION_MAJOR, version.major.into()),
        Item::integer(Tag::PROTOCOL_VERSION_MINOR, version.minor.into()),
    ];
    let header = vec![
        Item::structure(Tag::PROTOCOL_VERSION, version),
        Item::integer(Tag::BATCH_COUNT, 1),
    ];
    let item = vec![
        Item::enumeration(Tag::OPERATION, operation),
        Item::structure(Tag::REQUEST_PAYLOAD, payload),
    ];
    let message = vec![
        Item::structure(Tag::REQUEST_HEADER, header),
        Item::structure(Tag::BATCH_ITEM, item),
    ];
    Item::structure(Tag::REQUEST_MESSAGE, message)
}

/// What a server says when it does not do as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: u32,
    pub(super) text: String,
}

/// The payload of the answer to one operation.
///
/// # Errors
/// In the outer result: what is wrong with the answer. In the inner: what the server refuses.
pub(super) fn payload(answer: Item) -> Result<Result<Vec<Item>, Refusal>, &'static str> {
    if answer.tag != Tag::RESPONSE_MESSAGE {
        return Err("it is not a ResponseMessage");
    }
    let Value::Structure(items) = answer.value else {
        return Err("its ResponseMessage is no structure");
    };
    let mut batch = items.into_iter().filter(|item| item.tag == Tag::BATCH_ITEM);
    let (Some(item), None) = (batch.next(), batch.next()) else {
        return Err("it has not exactly one BatchItem");
    };
    let status = item.get(Tag::RESULT_STATUS).and_then(Item::as_enumeration);
    if status != Some(SUCCESS) {
        let status = status.ok_or("it has no ResultStatus")?;
        let reason = item.get(Tag::RESULT_REASON).and_then(Item::as_enumeration);
        let reason = reason.unwrap_or(UNKNOWN);
        let name = enumeration_name(Tag::RESULT_REASON, reason).map_or_else(
            || format!("result status {status}, reason {reason:#x}"),
            str::to_owned,
        );
        let message = item.get(Tag::RESULT_MESSAGE).and_then(Item::as_text);
        let text = format!("{name}: {}", shortened(message.unwrap_or("no message")));
        return Ok(Err(Refusal { reason, text }));
    }
    let Value::Structure(items) = item.value else {
        return Err("its BatchItem is no structure");
    };
    let payload = items
        .into_iter()
        .find(|item| item.tag == Tag::RESPONSE_PAYLOAD);
    match payload.map(|payload| payload.value) {
        Some(Value::Structure(items)) => Ok(Ok(items)),
        _ => Err("it has no ResponsePayload"),
    }
}

/// At most 200 characters of a server's text, on one line.
pub(super) fn shortened(text: &str) -> String {
    let plain = text
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c });
    plain.take(200).collect()
}

/// The object that a key is linked to in this way, from the answer to GetAttributes: before KMIP 2.0 links are
/// `Attribute` structures, since then they are named by their tag.
pub(super) fn linked(items: &[Item], link_type: u32) -> Option<&str> {
    items.iter().find_map(|item| {
        let kind = item.get(Tag::LINK_TYPE).and_then(Item::as_enumeration);
        if kind == Some(link_type) {
            return item.get(Tag::LINKED_OBJECT).and_then(Item::as_text);
        }
        linked(item.items(), link_type)
    })
}
