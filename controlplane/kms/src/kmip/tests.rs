//! Both encodings: round trips, an independent encoder's bytes, and that no input panics.

use proptest::prelude::*;

use super::message::{
    self, AES, ENCRYPT, GCM, Item, KmipVersion, REPLACEMENT_OBJECT_LINK, Refusal, Tag, Value,
};
use super::{json, ttlv};

const V1_4: KmipVersion = KmipVersion { major: 1, minor: 4 };

/// Items that both encodings can say.
fn items() -> impl Strategy<Value = Item> {
    let tags = prop::sample::select(Tag::TABLE);
    let leaf = (
        tags.clone(),
        any::<(u8, i32)>(),
        "\\PC{0,20}",
        prop::collection::vec(any::<u8>(), 0..40),
    );
    let leaf = leaf.prop_map(|((tag, _), (kind, number), text, bytes)| match kind % 4 {
        0 => Item::integer(tag, number),
        1 => Item::enumeration(tag, number.unsigned_abs()),
        2 => Item::text(tag, &text),
        _ => Item::bytes(tag, &bytes),
    });
    leaf.prop_recursive(6, 64, 6, move |inner| {
        let inside = prop::collection::vec(inner, 0..6);
        (tags.clone(), inside).prop_map(|((tag, _), items)| Item::structure(tag, items))
    })
}

proptest! {
    #[test]
    fn binary_is_undone(item in items()) {
        let bytes = ttlv::encode(&item);
        prop_assert_eq!(bytes.len() % 8, 0);
        prop_assert_eq!(ttlv::decode(&bytes), Ok(item.clone()));
        // Every cut is noticed.
        for len in 0..bytes.len() {
            prop_assert!(ttlv::decode(&bytes[..len]).is_err());
        }
    }

    #[test]
    fn json_is_undone(item in items()) {
        let text = json::encode(&item);
        prop_assert_eq!(json::decode(&text), Ok(item.clone()));
    }

    #[test]
    fn no_bytes_make_the_decoders_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200), item in items(), at: prop::sample::Index, to: u8,
    ) {
        let _ = (ttlv::decode(&bytes), json::decode(&bytes));
        bytes = ttlv::encode(&item).to_vec();
        let n = at.index(bytes.len());
        bytes[n] = to;
        if let Ok(item) = ttlv::decode(&bytes) {
            let _ = message::payload(item);
        }
        bytes = json::encode(&item).to_vec();
        let n = at.index(bytes.len());
        bytes[n] = to;
        if let Ok(item) = json::decode(&bytes) {
            let _ = message::payload(item);
        }
    }
}

/// The example of KMIP 1.4, 9.1.2, and made by hand: a structure of an enumeration and an integer.
#[test]
fn the_binary_example_of_the_standard() {
    let bytes = [
        0x42, 0x00, 0x20, 0x01, 0, 0, 0, 0x20, 0x42, 0x00, 0x04, 0x05, 0, 0, 0, 4, 0, 0, 0, 254, 0,
        0, 0, 0, 0x42, 0x00, 0x05, 0x02, 0, 0, 0, 4, 0, 0, 0, 255, 0, 0, 0, 0,
    ];
    let item = ttlv::decode(&bytes).expect("decodes");
    // None of these tags is one that is needed here.
    let values: Vec<_> = item
        .items()
        .iter()
        .map(|item| (item.tag, item.value.clone()))
        .collect();
    assert_eq!(
        values,
        [
            (Tag::OTHER, Value::Enumeration(254)),
            (Tag::OTHER, Value::Integer(255))
        ]
    );

    let parameters = Item::structure(
        Tag::CRYPTOGRAPHIC_PARAMETERS,
        vec![Item::enumeration(Tag::BLOCK_CIPHER_MODE, GCM)],
    );
    let expected = [
        0x42, 0x00, 0x2b, 0x01, 0, 0, 0, 0x10, 0x42, 0x00, 0x11, 0x05, 0, 0, 0, 4, 0, 0, 0, 9, 0,
        0, 0, 0,
    ];
    assert_eq!(ttlv::encode(&parameters).as_slice(), expected);
}

#[test]
fn malformed_bytes_are_refused() {
    let good = ttlv::encode(&Item::text(Tag::UNIQUE_IDENTIFIER, "abc"));
    assert!(ttlv::decode(&good).is_ok());
    let refuse = |change: &dyn Fn(&mut Vec<u8>), expected: &str| {
        let mut bytes = good.to_vec();
        change(&mut bytes);
        assert_eq!(ttlv::decode(&bytes), Err(expected));
    };
    refuse(&|b| b[15] = 1, "padding is not zero");
    refuse(&|b| b[7] = 9, "an item is longer than what is left");
    refuse(&|b| b[4] = 0xff, "an item is longer than what is left");
    refuse(&|b| b[3] = 12, "an item is of an unknown type");
    refuse(&|b| b[3] = 0, "an item is of an unknown type");
    refuse(&|b| b[3] = 9, "a long number is not 8 bytes long");
    refuse(&|b| b[3] = 2, "a number is not 4 bytes long");
    refuse(&|b| b[8] = 0xff, "a text is not UTF-8");
    refuse(&|b| b.push(0), "bytes follow the message");
    refuse(&|b| b.truncate(7), "an item is cut short");
    // 17 structures, one in the other.
    let mut deep = Item::structure(Tag::DATA, vec![]);
    for _ in 0..16 {
        deep = Item::structure(Tag::DATA, vec![deep]);
    }
    assert_eq!(
        ttlv::decode(&ttlv::encode(&deep)),
        Err("it is nested too deeply")
    );
    let header = |tag: u8, len: u32| {
        let mut header = [0x42, 0, tag, 1, 0, 0, 0, 0];
        header[4..].copy_from_slice(&len.to_be_bytes());
        ttlv::body_len(&header)
    };
    assert_eq!(header(0x7b, 100), Ok(100));
    assert!(header(0x7b, 65536).is_err() && header(0x78, 100).is_err());
}

#[test]
fn requests_are_what_servers_read() {
    let payload = vec![
        Item::text(Tag::UNIQUE_IDENTIFIER, "a\"b"),
        Item::bytes(Tag::DATA, &[0, 255]),
        Item::enumeration(Tag::CRYPTOGRAPHIC_ALGORITHM, AES),
    ];
    let text = json::encode(&message::request(V1_4, ENCRYPT, payload));
    let expected = concat!(
        r#"{"tag":"RequestMessage","type":"Structure","value":[{"tag":"RequestHeader","type":"Structure","value":["#,
        r#"{"tag":"ProtocolVersion","type":"Structure","value":["#,
        r#"{"tag":"ProtocolVersionMajor","type":"Integer","value":1},{"tag":"ProtocolVersionMinor","type":"Integer","value":4}]},"#,
        r#"{"tag":"BatchCount","type":"Integer","value":1}]},{"tag":"BatchItem","type":"Structure","value":["#,
        r#"{"tag":"Operation","type":"Enumeration","value":"Encrypt"},{"tag":"RequestPayload","type":"Structure","value":["#,
        r#"{"tag":"UniqueIdentifier","type":"TextString","value":"a\"b"},{"tag":"Data","type":"ByteString","value":"00FF"},"#,
        r#"{"tag":"CryptographicAlgorithm","type":"Enumeration","value":"AES"}]}]}]}"#,
    );
    assert_eq!(String::from_utf8_lossy(&text), expected);
}

fn answer(batch_item: &str) -> Result<Result<Vec<Item>, Refusal>, &'static str> {
    let text = format!(
        r#"{{"tag":"ResponseMessage","value":[{{"tag":"ResponseHeader","value":[]}},{{"tag":"BatchItem","value":[{batch_item}]}}]}}"#
    );
    message::payload(json::decode(text.as_bytes())?)
}

#[test]
fn answers_are_read_or_refused() {
    let good = r#"{"tag":"ResultStatus","type":"Enumeration","value":"Success"},{"tag":"ResponsePayload","value":[
        {"tag":"Sensitive","type":"Boolean","value":false},{"tag":"RotateInterval","type":"LongInteger","value":"0x00"},
        {"tag":"Attributes","value":[{"tag":"Link","value":[
        {"tag":"LinkType","type":"Enumeration","value":"ReplacementObjectLink"},
        {"tag":"LinkedObjectIdentifier","type":"TextString","value":"next"}]}]}]}"#;
    let items = answer(good).expect("reads").expect("succeeded");
    assert_eq!(
        message::linked(&items, REPLACEMENT_OBJECT_LINK),
        Some("next")
    );
    assert_eq!(message::linked(&items, 0x107), None);

    let failed = r#"{"tag":"ResultStatus","type":"Enumeration","value":"0x00000001"},
        {"tag":"ResultReason","type":"Enumeration","value":"Item_Not_Found"},
        {"tag":"ResultMessage","type":"TextString","value":"no\nsuch key"}"#;
    let refusal = answer(failed).expect("reads").expect_err("failed");
    assert_eq!(
        (refusal.reason, refusal.text.as_str()),
        (1, "ItemNotFound: no such key")
    );
    let odd = failed.replace("Item_Not_Found", "SomethingNew");
    assert_eq!(
        answer(&odd).expect("reads").expect_err("failed").reason,
        message::UNKNOWN
    );

    for (text, why) in [
        (good.replace("Success", "OperationPending"), None),
        (
            good.replace("ResponsePayload", "Payload"),
            Some("it has no ResponsePayload"),
        ),
        (
            good.replace("ResultStatus", "Status"),
            Some("it has no ResultStatus"),
        ),
        (
            good.replace(
                "TextString\",\"value\":\"next\"",
                "TextString\",\"value\":1",
            ),
            Some("a TextString is no text"),
        ),
        (
            good.replace("TextString", "ByteString"),
            Some("a ByteString is not hexadecimal"),
        ),
        (
            good.replace("false", "false]"),
            Some("it is not KMIP in JSON"),
        ),
    ] {
        match answer(&text) {
            Err(said) => assert_eq!(Some(said), why),
            Ok(outcome) => assert!(why.is_none() && outcome.is_err()),
        }
    }
    let other = json::decode(br#"{"tag":"EncryptResponse","value":[]}"#).expect("decodes");
    assert!(message::payload(other).is_err());
}
