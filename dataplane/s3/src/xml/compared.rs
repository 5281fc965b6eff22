//! The reader and the listings, compared with `quick-xml` and with listings made of a tree in the plainest way.

use std::fmt::Write as _;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use quick_xml::Reader;
use quick_xml::events::Event;

use super::{Element, Limits, ListObjectsResult, ListVersionsResult};

mod plain;

#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Tree {
    name: String,
    text: String,
    children: Vec<Tree>,
}

impl Tree {
    fn of(element: &Element<'_>) -> Self {
        Self {
            name: element.name().into(),
            text: element.text().into(),
            children: element.elements().map(Self::of).collect(),
        }
    }

    fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// As `quick-xml` reads a document; `None` where it is refused.
    fn read(document: &[u8], limits: &Limits) -> Option<Self> {
        let text = std::str::from_utf8(document).ok()?;
        let text = text.trim_start_matches('\u{feff}').trim_start();
        let mut reader = Reader::from_str(text);
        // The first is around the root.
        let mut open = vec![Tree::default()];
        let mut elements = 0;
        loop {
            let mut append = |text: &str| match &mut open[..] {
                [_] => text.trim().is_empty().then_some(()),
                [.., last] => {
                    last.text.push_str(text);
                    Some(())
                }
                [] => None,
            };
            match reader.read_event().ok()? {
                event @ (Event::Start(_) | Event::Empty(_)) => {
                    let (Event::Start(start) | Event::Empty(start)) = &event else {
                        continue;
                    };
                    elements += 1;
                    let second = open.len() == 1 && !open[0].children.is_empty();
                    if open.len() > limits.depth || elements > limits.elements || second {
                        return None;
                    }
                    let element = Tree::named(start.local_name().as_ref());
                    match event {
                        Event::Start(_) => open.push(element),
                        _ => open.last_mut()?.children.push(element),
                    }
                }
                Event::End(_) => {
                    let element = open.pop()?;
                    open.last_mut()?.children.push(element);
                }
                Event::Text(text) => append(&text.into_inner())?,
                Event::CData(text) => append(&text.into_inner())?,
                Event::GeneralRef(reference) => {
                    let c = match &*reference {
                        "lt" => '<',
                        "gt" => '>',
                        "amp" => '&',
                        "quot" => '"',
                        "apos" => '\'',
                        _ => reference.resolve_char_ref().ok()??,
                    };
                    append(&c.to_string())?;
                }
                Event::DocType(_) => return None,
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
                Event::Eof => break,
            }
        }
        let [root] = &open[..] else { return None };
        root.children.first().cloned()
    }

    fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s Tree> {
        self.children.iter().filter(move |c| c.name == name)
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.children.iter().find(|c| c.name == name);
        found.map(|c| &*c.text)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.trim().parse().ok()
    }

    fn says(&self, name: &str, what: &str) -> bool {
        let text = self.get(name).unwrap_or("");
        text.trim().eq_ignore_ascii_case(what)
    }
}

/// Compares what is made of a store's document, or that nothing is made of it.
fn compare(text: &[u8]) -> Result<bool, TestCaseError> {
    let body = Bytes::copy_from_slice(text);
    let tree = Tree::read(text, &Limits::STORE);
    let as_text = |document: Vec<u8>| String::from_utf8(document).unwrap();
    for client_url in [false, true] {
        let ours = ListObjectsResult::parse(&body).ok().map(|mut page| {
            page.url_encoded = client_url;
            as_text(page.to_xml())
        });
        let plain = tree.as_ref().and_then(|t| t.objects(client_url));
        prop_assert_eq!(ours, plain);
    }
    let ours = ListVersionsResult::parse(&body).ok();
    let ours = ours.map(|page| as_text(page.to_xml()));
    prop_assert_eq!(ours, tree.as_ref().and_then(Tree::versions));
    let known = tree.is_some_and(|t| t.objects(true).is_some() || t.versions().is_some());
    Ok(known)
}

/// Listings as stores write them.
const LISTINGS: [&str; 9] = [
    // Amazon S3.
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name>\
     <Prefix>a%20b/</Prefix><StartAfter>a</StartAfter><NextContinuationToken>1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=</NextContinuationToken>\
     <KeyCount>2</KeyCount><MaxKeys>2</MaxKeys><Delimiter>%2F</Delimiter><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
     <Contents><Key>a%20b/c+d%2B%C3%A4.txt</Key><LastModified>2009-10-12T17:50:30.000Z</LastModified><ETag>&quot;fba9dede5f27731c9771645a39863328&quot;</ETag>\
     <ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType><Size>434234</Size><StorageClass>STANDARD</StorageClass></Contents>\
     <Contents><Key>a%20b/z</Key><LastModified>2009-10-12T17:50:31.999Z</LastModified><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e-12&quot;</ETag><Size>0</Size>\
     <Owner><ID>75aa57f0</ID><DisplayName>mtd</DisplayName></Owner><StorageClass>GLACIER</StorageClass>\
     <RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress></RestoreStatus></Contents>\
     <CommonPrefixes><Prefix>a%20b/x/</Prefix></CommonPrefixes><CommonPrefixes><Prefix>a%20b/y/</Prefix></CommonPrefixes></ListBucketResult>",
    // MinIO: what is about all of the page also comes behind the objects.
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name><Prefix></Prefix>\
     <KeyCount>1</KeyCount><MaxKeys>1000</MaxKeys><Delimiter></Delimiter><IsTruncated>false</IsTruncated><Contents><Key>a/%26%3C+x</Key>\
     <LastModified>2026-11-23T09:05:51.120Z</LastModified><ETag>&#34;d41d8cd98f00b204e9800998ecf8427e&#34;</ETag><Size>7</Size>\
     <Owner><ID>02d6176db174dc93cb1b899f7c6078f08654445fe8cf1b6ce98d8855f66bdbf4</ID><DisplayName>minio</DisplayName></Owner>\
     <StorageClass>STANDARD</StorageClass><UserMetadata/></Contents><EncodingType>url</EncodingType></ListBucketResult>",
    // SeaweedFS: whole seconds.
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name><Prefix></Prefix>\
     <MaxKeys>1000</MaxKeys><Delimiter></Delimiter><IsTruncated>false</IsTruncated><Contents><Key>k</Key><ETag>&#34;0cc175b9c0f1b6a831c399e269772661&#34;</ETag>\
     <Size>1</Size><Owner><ID>0</ID><DisplayName></DisplayName></Owner><StorageClass>STANDARD</StorageClass><LastModified>2026-11-23T09:05:51Z</LastModified></Contents>\
     <Contents><Key>l</Key><ETag>&#34;0cc175b9c0f1b6a831c399e269772661-2&#34;</ETag><Size>1</Size><StorageClass></StorageClass>\
     <LastModified>2026-11-24T00:00:00+01:00</LastModified></Contents><EncodingType>url</EncodingType><KeyCount>2</KeyCount></ListBucketResult>",
    // versitygw: empty elements, nothing encoded.
    "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><ContinuationToken></ContinuationToken><Contents><ChecksumAlgorithm/>\
     <ETag>0cc175b9</ETag><Key>100%+</Key><LastModified>2026-11-23T09:05:51.5Z</LastModified><Size>9</Size></Contents><Delimiter/><EncodingType></EncodingType>\
     <IsTruncated>true</IsTruncated><KeyCount>1</KeyCount><MaxKeys>1</MaxKeys><Name>b</Name><NextContinuationToken>k&amp;</NextContinuationToken></ListBucketResult>",
    // RGW: version 1 of the operation.
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name><Prefix></Prefix>\
     <MaxKeys>1</MaxKeys><IsTruncated>true</IsTruncated><Marker></Marker><NextMarker>a &lt;b</NextMarker><Contents><Key>a &lt;b&#xd;&#10;</Key>\
     <LastModified>2026-11-23T09:05:51.123Z</LastModified><ETag>&quot;x&amp;y&quot;</ETag><Size> 18446744073709551615 </Size><StorageClass>ST&amp;A</StorageClass>\
     <Owner><ID>o&amp;</ID><DisplayName>&gt;</DisplayName></Owner><Type>Normal</Type></Contents></ListBucketResult>",
    // What nobody writes, but may be written.
    "  \u{feff}<?xml version='1.0'?><!-- a --><s3:ListBucketResult xmlns:s3='u' a=\"<>\">\n  <s3:EncodingType> URL </s3:EncodingType>x<s3:Contents >\n\
     <s3:Key>a<![CDATA[%3C<&]]>b<!-- - --><i>no</i>c</s3:Key ><Key>second</Key><Size>+5</Size><Size>6</Size><ETag> \"a\"b\" </ETag>\n\
     <LastModified> 2026-11-23 09:05:60Z </LastModified><StorageClass><![CDATA[STANDARD]]></StorageClass><Owner><DisplayName>d</DisplayName></Owner><?pi?></s3:Contents>\
     <CommonPrefixes><Prefix>p%zz+</Prefix><Prefix>q+</Prefix><Other/></CommonPrefixes><CommonPrefixes/></s3:ListBucketResult> <!-- z --> \n",
    "<ListBucketResult/>",
    "<ListVersionsResult><Name>b</Name><Prefix/><KeyMarker>a</KeyMarker><VersionIdMarker>v&amp;</VersionIdMarker><NextKeyMarker>z%20</NextKeyMarker>\
     <NextVersionIdMarker>n</NextVersionIdMarker><MaxKeys>2</MaxKeys><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
     <Version><Key>a%2Fb</Key><VersionId>null</VersionId><IsLatest>true</IsLatest><LastModified>2009-10-12T17:50:30.000Z</LastModified>\
     <ETag>&quot;396fefef536d5ce46c7537ecf978a360&quot;</ETag><Size>217</Size><StorageClass>STANDARD</StorageClass><Owner><ID>i</ID></Owner></Version>\
     <DeleteMarker><Key>c</Key><VersionId>v</VersionId><IsLatest> TRUE </IsLatest><LastModified>x</LastModified></DeleteMarker>\
     <Version><Key/><VersionId/></Version><CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes></ListVersionsResult>",
    "<ListVersionsResult><NextKeyMarker>z</NextKeyMarker><Delimiter>/</Delimiter></ListVersionsResult>",
];

#[test]
fn listings_of_all_stores() {
    for listing in LISTINGS {
        assert!(compare(listing.as_bytes()).unwrap(), "{listing}");
    }
    assert!(
        compare("<Error><Code>NoSuchBucket</Code></Error>".as_bytes()).is_ok_and(|known| !known)
    );
}

/// Pieces that documents are made of, good and bad ones.
const PIECES: [&str; 67] = [
    "<a>",
    "</a>",
    "<a>",
    "</a>",
    "<b>",
    "</b>",
    "<a/>",
    "<b x='>' y=\"'\">",
    "</b >",
    "</ >",
    "<>",
    "</>",
    "<p:a>",
    "</p:a>",
    "<p:q:a/>",
    "<a'>'>",
    "</a'>",
    "</a'>'>",
    "<a'x y'>",
    "</a'x>",
    "'>",
    "<a / >",
    "</a x>",
    "<A1>",
    "</A1>",
    "<a-b>",
    "</a-b>",
    "<\u{e4}>",
    "</\u{e4}>",
    "<abcdefghi>",
    "</abcdefghi>",
    "<abcdefg/>",
    "<abcdefgh>",
    "</abcdefgh>",
    "x",
    " ",
    "\n",
    "\u{85}",
    "\u{feff}",
    "\u{e4}\u{1f600}",
    "some longer text of no interest",
    "&amp;",
    "&lt;",
    "&quot;",
    "&#34;",
    "&#x41;",
    "&#65;",
    "&#x110000;",
    "&#0;",
    "&#+5;",
    "&b;",
    "&",
    "&amp",
    ";",
    "<!-- c -->",
    "<!---->",
    "<!-->",
    "<!--->",
    "<![CDATA[<&]]>",
    "<![CDATA[]]>",
    "<![CDATA[",
    "]]>",
    "<?pi a='?>'?>",
    "<?>",
    "<!DOCTYPE a>",
    "<",
    ">",
];

/// Text of elements of a listing.
const TEXTS: [&str; 32] = [
    "",
    "a",
    "a/b%20c",
    "%zz",
    "+",
    "&quot;x&quot;",
    "&#34;x-2&#34;",
    "\"x\"",
    "&quot;",
    "&quot;&quot;",
    " &quot;x&#34; ",
    "W/&quot;x&quot;",
    "2026-11-23T09:05:51.123Z",
    "2026-11-23T09:05:51Z",
    "2026-02-30T00:00:00Z",
    "7",
    " 8 ",
    "18446744073709551616",
    "9999999999999999999",
    "10000000000000000000",
    "2026-11-23T09:05:51ZZZZZ",
    "\"",
    "\"\"",
    "\"a&amp;b\"",
    "&quot;a\"&lt;&quot;",
    "STANDARD_IA",
    "true",
    "url",
    "STANDARD",
    "<![CDATA[x]]>y",
    "\u{e4}\u{9f}\u{ffff}",
    "<i>5</i>",
];

const NAMES: [&str; 26] = [
    "Key",
    "LastModified",
    "ETag",
    "Size",
    "StorageClass",
    "Owner",
    "ID",
    "DisplayName",
    "VersionId",
    "IsLatest",
    "Prefix",
    "Name",
    "MaxKeys",
    "EncodingType",
    "IsTruncated",
    "Marker",
    "NextMarker",
    "KeyCount",
    "StartAfter",
    "ContinuationToken",
    "NextContinuationToken",
    "KeyMarker",
    "NextKeyMarker",
    "NextVersionIdMarker",
    "Delimiter",
    "Other",
];

fn leaves(most: usize) -> impl Strategy<Value = String> {
    let leaf = (select(&NAMES[..]), select(&TEXTS[..]));
    proptest::collection::vec(leaf, 0..most).prop_map(|leaves| {
        let leaves = leaves.into_iter();
        leaves
            .map(|(name, text)| format!("<{name}>{text}</{name}>"))
            .collect()
    })
}

/// An entry's fields in the order of most stores, some of them left out.
fn in_order() -> impl Strategy<Value = String> {
    let text = || proptest::option::weighted(0.8, select(&TEXTS[..]));
    let names = [
        "Key",
        "LastModified",
        "ETag",
        "Size",
        "StorageClass",
        "LastModified",
    ];
    [text(), text(), text(), text(), text(), text()].prop_map(move |texts| {
        let fields = names.into_iter().zip(texts);
        fields
            .filter_map(|(name, text)| Some(format!("<{name}>{}</{name}>", text?)))
            .collect()
    })
}

fn listing() -> impl Strategy<Value = String> {
    let around = select(vec![
        "Contents",
        "Contents",
        "Version",
        "DeleteMarker",
        "CommonPrefixes",
        "Owner",
    ]);
    let inside = prop_oneof![leaves(6), in_order()];
    let entry = (around, inside, any::<bool>(), leaves(2));
    let entries = proptest::collection::vec((entry, leaves(2)), 0..4);
    let root = select(vec!["ListBucketResult", "ListVersionsResult"]);
    (root, leaves(6), entries).prop_map(|(root, head, entries)| {
        let mut text = format!("<{root}>{head}");
        for ((around, inside, whole, owner), between) in entries {
            let given = match whole {
                true => "<Key>k</Key><VersionId>v</VersionId><Size>1</Size>",
                false => "",
            };
            let _ = write!(
                text,
                "<{around}>{inside}{given}<Owner>{owner}</Owner></{around}>{between}"
            );
        }
        text + "</" + root + ">"
    })
}

#[test]
fn odd_documents_are_read_as_a_library_reads_them() {
    for text in [
        "<a'x y'></a'x>",
        "<a'x y'></a'x>'></a'x>",
        "<a'>'></a'>'>",
        "<a'b'></a'b'>",
        "<></>",
        "<></ >",
        "<a></a ></a>",
        "<a></a\n>",
        "<a/ ></a/>",
        "<a:></a:>",
        "<:a:b/>",
        "<a/>&#32;<![CDATA[ ]]>&#x2003;",
        "<a/><![CDATA[x]]>",
        "&#x85;<a/>",
        "<a><!--></a><!----></a>",
        "<a><![CDATA[]]]]></a>",
        "<a><?a?b></a><??></a>",
        "\u{feff}\u{feff} \u{feff}<a/>",
        "\u{feff}\u{feff} \u{feff}\u{feff}<a/>",
        "<a>&amp;;&lt</a>",
        "<a>&#x0041;&#00065;&#;</a>",
        "<a>&#X41;</a>",
    ] {
        let ours = Element::parse(text.as_bytes(), &Limits::SMALL).ok();
        let theirs = Tree::read(text.as_bytes(), &Limits::SMALL);
        assert_eq!(ours.as_ref().map(Tree::of), theirs, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn documents_are_read_as_a_library_reads_them(pieces in proptest::collection::vec(select(&PIECES[..]), 0..14), root: bool) {
        let text = match root {
            true => format!("<r>{}</r>", pieces.concat()),
            false => pieces.concat(),
        };
        let limits = Limits { bytes: 4096, depth: 4, elements: 8 };
        let ours = Element::parse(text.as_bytes(), &limits).ok();
        prop_assert_eq!(ours.as_ref().map(Tree::of), Tree::read(text.as_bytes(), &limits), "{}", text);
    }

    #[test]
    fn listings_are_as_made_of_a_tree(text in listing()) {
        compare(text.as_bytes())?;
    }

    #[test]
    fn damaged_listings_are_as_made_of_a_tree(
        which in select(&LISTINGS[..]),
        damage in proptest::collection::vec((any::<Index>(), 0usize..30, prop_oneof![select(&PIECES[..]).prop_map(str::as_bytes), Just(&b"\xff"[..])]), 1..4),
    ) {
        let mut text = which.as_bytes().to_vec();
        for (at, cut, with) in damage {
            let at = at.index(text.len() + 1);
            let end = (at + cut).min(text.len());
            text.splice(at..end, with.iter().copied());
        }
        compare(&text)?;
    }
}
