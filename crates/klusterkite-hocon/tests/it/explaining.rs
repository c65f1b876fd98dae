//! What documents say about themselves: places with excerpts, and values as they were written.

use std::collections::BTreeMap;

use klusterkite_hocon::{Document, Origin, Path};

fn excerpt(text: &str) -> String {
    let error = Document::parse(text, "x")
        .and_then(|document| document.resolve(&BTreeMap::new()))
        .unwrap_err();
    error.origin().excerpt(text).unwrap()
}

#[test]
fn an_excerpt_marks_the_column_of_the_error() {
    assert_eq!(
        excerpt("a = 1\n  b = ${none}\n"),
        "2 |   b = ${none}\n  |       ^"
    );
    assert_eq!(excerpt("\t\u{e9} = &"), "1 |  \u{e9} = &\n  |      ^");
    let long = format!("a = \"{}\", b = &", "x".repeat(500));
    let lines = excerpt(&long);
    let (line, mark) = lines.split_once('\n').unwrap();
    assert!(line.len() <= 104, "{line}");
    assert_eq!(line.find('&'), mark.find('^'));
}

#[test]
fn a_place_without_a_line_of_the_text_has_no_excerpt() {
    assert_eq!(Origin::new("environment", 0, 0).excerpt("a"), None);
    assert_eq!(Origin::new("x", 5, 1).excerpt("a\nb"), None);
    assert_eq!(
        Origin::new("x", 2, 0).excerpt("a\nb").as_deref(),
        Some("2 | b")
    );
}

#[test]
fn a_document_tells_what_it_has_at_a_path() {
    let cases = [
        ("a.b = 1", "a.b", vec!["1:7 1"]),
        ("a.b = 1", "a.c", vec![]),
        ("a.b = x y", "a", vec!["1:7 { b = \"x y\" } +"]),
        (
            "a = 1\na = ${?A}\na = ${?B}",
            "a",
            vec!["3:5 ${?B} ?", "2:5 ${?A} ?", "1:5 1"],
        ),
        ("a = ${b} { c = 1 }", "a.c", vec!["1:16 1", "1:5 ${b} ?"]),
        ("a = 5", "a.c", vec!["1:5 5"]),
        (
            "u = \"http://\"${h}\":80\"",
            "u",
            vec!["1:5 \"http://\"${h}\":80\" ?"],
        ),
        ("a += ${x}", "a", vec!["1:6 (what was there) [${x}] ? +"]),
        ("a = ${a} [1]", "a", vec!["1:5 ${a}[1] ? +"]),
        (
            "l = [{}, null, true, ${x[]}]",
            "l",
            vec!["1:5 [{}, null, true, ${x[]}] ?"],
        ),
    ];
    for (text, path, expected) in cases {
        let document = Document::parse(text, "x").unwrap();
        let written = document.written(&Path::parse(path).unwrap());
        let shown: Vec<String> = written
            .iter()
            .map(|written| {
                let place = written.origin.to_string();
                let place = place.trim_start_matches("x:");
                let open = if written.is_open { " ?" } else { "" };
                let adds = if written.adds { " +" } else { "" };
                format!("{place} {}{open}{adds}", written.text)
            })
            .collect();
        assert_eq!(shown, expected, "{text}");
    }
}

#[test]
fn a_long_value_is_cut() {
    let list = vec!["\u{e9}"; 10_000].join(",");
    let document = Document::parse(&format!("a = [{list}]"), "x").unwrap();
    let written = document.written(&Path::parse("a").unwrap());
    assert!(written[0].text.len() < 130, "{}", written[0].text);
    assert!(written[0].text.ends_with('…'));
}
