//! The kept parts of a text, in chunks of any size.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

static POD: Shape = Shape::Object(&[
    ("name", Shape::Scalar),
    ("spec", Shape::Object(&[("list", Shape::List(&Shape::Object(&[("a", Shape::Scalar)]), 2))])),
]);
static LIST: Shape =
    Shape::Object(&[("meta", Shape::Object(&[("v", Shape::Scalar)])), ("items", Shape::Items(&POD))]);

/// All pieces, in chunks of this size.
fn sift(sieve: &mut Sieve, text: &[u8], chunk: usize) -> Result<Vec<Piece>, Problem> {
    let mut pieces = Vec::new();
    for mut bytes in text.chunks(chunk.max(1)) {
        while !bytes.is_empty() {
            let (taken, piece) = sieve.take(bytes)?;
            bytes = &bytes[taken..];
            pieces.extend(piece);
        }
    }
    Ok(pieces)
}

fn pieces(shape: &'static Shape, text: &str) -> Vec<String> {
    let text_of = |piece: Piece| match piece {
        Piece::Item(kept) | Piece::Whole(kept) => String::from_utf8(kept).expect("text"),
        Piece::TooLarge => "too large".to_owned(),
    };
    let all = |chunk| sift(&mut Sieve::whole(shape, "list"), text.as_bytes(), chunk);
    let at_once = all(usize::MAX).unwrap_or_else(|problem| panic!("{problem}"));
    assert!(at_once == all(1).expect("the same"));
    at_once.into_iter().map(text_of).collect()
}

#[test]
fn only_wanted_fields_come_out() {
    let text = r#" { "name" : "n", "env": [{"name":"}]\\"}, 1e400], "spec":{"x":{"list":[{}]},"list":[{"a":-1.5e3,"b":2},{},{"a":3}]}} "#;
    assert_eq!(pieces(&POD, text), [r#"{"name":"n","spec":{"list":[{"a":-1.5e3},{}]}}"#]);
    // Another kind of value.
    assert_eq!(pieces(&POD, r#"{"name":{"a":[1]},"spec":"x"}"#), [r#"{"name":null,"spec":null}"#]);
    assert_eq!(
        pieces(&POD, r#"{"spec":{"list":[1,"a",[2],{"a":3}]}}"#),
        [r#"{"spec":{"list":[null,null]}}"#]
    );
    assert_eq!(pieces(&POD, "[1]"), ["null"]);
    assert_eq!(pieces(&POD, "{}"), ["{}"]);
    // serde says that this is none.
    assert_eq!(pieces(&POD, r#"{"name":nope}"#), [r#"{"name":nope}"#]);
}

#[test]
fn the_items_of_a_list_come_one_by_one() {
    let text =
        r#"{"kind":"L","meta":{"v":"7","w":0},"items":[{"name":"a","x":1}, {} ,null,{"name":"b"}],"z":1}"#;
    assert_eq!(
        pieces(&LIST, text),
        [r#"{"name":"a"}"#, "{}", "null", r#"{"name":"b"}"#, r#"{"meta":{"v":"7"},"items":[]}"#]
    );
    assert_eq!(pieces(&LIST, r#"{"items":null}"#), [r#"{"items":null}"#]);
    assert_eq!(pieces(&LIST, r#"{"items":[],"meta":{}}"#), [r#"{"items":[],"meta":{}}"#]);
}

#[test]
fn a_wanted_text_has_a_bound_and_unwanted_fields_have_none() {
    let long = "x".repeat(LONGEST_TEXT);
    assert_eq!(pieces(&POD, &format!(r#"{{"name":"{long}","spec":{{}}}}"#)), [r#"{"name":null,"spec":{}}"#]);
    let fits = &long[2..];
    assert_eq!(pieces(&POD, &format!(r#"{{"name":"{fits}"}}"#)), [format!(r#"{{"name":"{fits}"}}"#)]);
    assert_eq!(
        pieces(&POD, &format!(r#"{{"name":{}}}"#, "1".repeat(2 * LONGEST_TEXT))),
        [r#"{"name":null}"#]
    );
    let (huge, deep) = (r#"\""#.repeat(MOST_KEPT), "[".repeat(MOST_KEPT) + &"]".repeat(MOST_KEPT));
    let text = format!(r#"{{"{huge}":"{huge}","b":{deep},"name":"n"}}"#);
    assert_eq!(pieces(&POD, &text), [r#"{"name":"n"}"#]);
    // One name again and again: it is kept each time.
    let again = format!("{{{}\"name\":1}}", r#""name":"0123456789","#.repeat(MOST_KEPT / 10));
    assert_eq!(pieces(&POD, &again), ["too large"]);
    let among = format!(r#"{{"items":[{{"name":"a"}},{again},{{"name":"b"}}]}}"#);
    assert_eq!(pieces(&LIST, &among), [r#"{"name":"a"}"#, "too large", r#"{"name":"b"}"#, r#"{"items":[]}"#]);
}

#[test]
fn lines_are_told_apart_and_half_a_line_is_none() {
    let mut sieve = Sieve::lines(&POD, "event");
    let all = sift(&mut sieve, b"\n{\"name\":1}\n \n{\"name\":2}\r\n", 1).expect("lines");
    assert_eq!(all, [Piece::Whole(br#"{"name":1}"#.to_vec()), Piece::Whole(br#"{"name":2}"#.to_vec())]);
    assert!(sieve.is_between());
    sift(&mut sieve, b"{\"name\":", 1).expect("half a line");
    assert!(!sieve.is_between());
    assert!(sift(&mut sieve, b"\n", 1).is_err());
}

#[test]
fn a_text_that_is_no_json_is_an_error_that_shows_it() {
    for text in [
        "<html>\x1b[2J</html>",
        "{]",
        "{1:2}",
        r#"{"name" 1}"#,
        "{} {}",
        "}",
        r#"{"name":1 2}"#,
        "\u{feff}{}",
    ] {
        let problem = sift(&mut Sieve::whole(&POD, "list"), text.as_bytes(), 7).expect_err(text).to_string();
        assert!(problem.contains("no list (JSON breaks off at byte "), "{problem}");
        assert!(!problem.contains(char::is_control), "{problem}");
    }
    for text in ["[[[[\n", "{} {}\n", "{\"a\":\"\n"] {
        assert!(sift(&mut Sieve::lines(&POD, "event"), text.as_bytes(), 7).is_err(), "{text}");
    }
    let mut sieve = Sieve::whole(&POD, "list");
    sift(&mut sieve, b"{\"env\":\"", 100).expect("a beginning");
    let chunk = vec![b'x'; 1 << 20];
    let problem = (0..33).find_map(|_| sieve.take(&chunk).err()).expect("no end");
    assert_eq!(problem.to_string(), "not an answer of the Kubernetes API: list of more than 33554432 bytes");
}

/// The same, of the whole text at once.
fn prune(shape: &Shape, value: &Value, items: &mut Vec<Value>) -> Value {
    match (shape, value) {
        (Shape::Scalar, Value::Object(_) | Value::Array(_)) => Value::Null,
        (Shape::Scalar, scalar) => scalar.clone(),
        (Shape::Object(fields), Value::Object(map)) => {
            let kept = map.iter().filter_map(|(key, value)| {
                let (_, shape) = fields.iter().find(|(name, _)| name == key)?;
                Some((key.clone(), prune(shape, value, items)))
            });
            kept.collect()
        }
        (Shape::List(shape, most), Value::Array(list)) => {
            list.iter().take(*most).map(|value| prune(shape, value, items)).collect()
        }
        (Shape::Items(shape), Value::Array(list)) => {
            let kept: Vec<_> = list.iter().map(|value| prune(shape, value, &mut Vec::new())).collect();
            items.extend(kept);
            json!([])
        }
        _ => Value::Null,
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,6}|[\"\\\\\\]}\\[{,:\n]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        let key = prop_oneof![
            Just("meta".to_owned()),
            Just("v".to_owned()),
            Just("items".to_owned()),
            Just("name".to_owned()),
            Just("spec".to_owned()),
            Just("list".to_owned()),
            Just("a".to_owned()),
            "[\"\\\\a-z]{0,3}"
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..5)
                .prop_map(|fields| fields.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #[test]
    fn it_keeps_of_any_json_what_a_walk_of_it_would(value in any_json(), pretty in any::<bool>(), chunk in 1_usize..9) {
        let text = if pretty { format!("{value:#}") } else { value.to_string() };
        let mut items = Vec::new();
        let whole = prune(&LIST, &value, &mut items);
        let pieces = sift(&mut Sieve::whole(&LIST, "list"), format!("{text} ").as_bytes(), chunk);
        let pieces: Vec<Value> = pieces.expect("it is JSON").into_iter().map(|piece| match piece {
            Piece::Item(kept) | Piece::Whole(kept) => serde_json::from_slice(&kept).expect("JSON is kept"),
            Piece::TooLarge => panic!("it is small"),
        }).collect();
        items.push(whole);
        prop_assert_eq!(pieces, items);
    }

    #[test]
    fn whatever_bytes_come_it_goes_on_or_says_that_it_is_none(bytes in any::<Vec<u8>>(), lines in any::<bool>()) {
        let mut sieve = if lines { Sieve::lines(&LIST, "event") } else { Sieve::whole(&LIST, "list") };
        let _ = sift(&mut sieve, &bytes, 3);
    }
}
