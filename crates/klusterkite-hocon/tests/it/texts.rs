//! What texts mean: syntax, merging, substitutions, errors with their places.

use std::collections::BTreeMap;

use klusterkite_hocon::{Document, Error, ParseOptions, Syntax};
use serde_json::{Value, json};

/// Resolves layers, highest priority first.
fn layers(texts: &[&str], environment: &[(&str, &str)]) -> Result<Value, Error> {
    let environment: BTreeMap<String, String> = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let mut merged = Document::empty();
    for (number, text) in texts.iter().enumerate() {
        merged = merged.with_fallback(Document::parse(text, &format!("layer{number}"))?);
    }
    merged.resolve(&environment).map(|config| config.to_json())
}

fn check(cases: &[(&str, Value)]) {
    for (text, expected) in cases {
        let resolved = layers(&[text], &[]).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(resolved, *expected, "{text}");
    }
}

#[test]
fn values_are_written_in_many_ways() {
    check(&[
        ("", json!({})),
        ("# only a comment\n// and another", json!({})),
        ("{ \"a\": 1 }", json!({"a": 1})),
        (
            "a = 1, b : 2\nc { d = 3 }",
            json!({"a": 1, "b": 2, "c": {"d": 3}}),
        ),
        ("a.b.\"c.d\" = 1", json!({"a": {"b": {"c.d": 1}}})),
        ("a = hello  world ", json!({"a": "hello  world"})),
        ("a = [1, two, \"3\"\n4\n]", json!({"a": [1, "two", "3", 4]})),
        (
            "a = true, b = false, c = null, d = truely",
            json!({"a": true, "b": false, "c": null, "d": "truely"}),
        ),
        (
            "a = \"\"\"x \"y\" \\n\n\"\"\"\"",
            json!({"a": "x \"y\" \\n\n\""}),
        ),
        (
            "a = 10 s, b = 1.50x, c = 127.0.0.1",
            json!({"a": "10 s", "b": "1.50x", "c": "127.0.0.1"}),
        ),
        (
            "a = 1e3, b = -0.5, c = 007, d = 99999999999999999999",
            json!({"a": 1000.0, "b": -0.5, "c": 7, "d": "99999999999999999999"}),
        ),
        ("a = \"\\ud83d\\ude00\\t\"", json!({"a": "\u{1f600}\t"})),
        ("\u{feff}a\u{a0}=\u{3000}b", json!({"a": "b"})),
    ]);
}

#[test]
fn later_values_win_and_objects_merge() {
    check(&[
        ("a = 1, a = 2", json!({"a": 2})),
        ("a { x = 1 }, a { y = 2 }", json!({"a": {"x": 1, "y": 2}})),
        ("a { x = 1 }, a = null, a { y = 2 }", json!({"a": {"y": 2}})),
        (
            "a { b { x = 1 } }, a.b.y = 2",
            json!({"a": {"b": {"x": 1, "y": 2}}}),
        ),
        // What hides a lower object stays hidden when the result is merged once more.
        (
            "o { a { x = 1 } }, o { a = 5, a { y = 2 } }",
            json!({"o": {"a": {"y": 2}}}),
        ),
        ("a = { x = 1 } { y = 2 }", json!({"a": {"x": 1, "y": 2}})),
        ("a = [1] [2], a += 3", json!({"a": [1, 2, 3]})),
    ]);
}

#[test]
fn layers_are_merged_before_substitutions_are_resolved() {
    for (texts, expected) in [
        (
            ["a { x = 1 }", "b { x = 0, y = 2 }, a = ${b}"],
            json!({"a": {"y": 2, "x": 1}, "b": {"x": 0, "y": 2}}),
        ),
        (
            ["v = app", "v = default, y = ${v}"],
            json!({"v": "app", "y": "app"}),
        ),
        (["l += 3", "l = [1, 2]"], json!({"l": [1, 2, 3]})),
        (["p = ${p}\"/x\"", "p = /y"], json!({"p": "/y/x"})),
        (["p = ${?NOPE}", "p = 80"], json!({"p": 80})),
        (["a = 1", "a = ${missing}"], json!({"a": 1})),
        (
            ["c { l += 2 }", "d { l = [1] }, c = ${d}"],
            json!({"c": {"l": [1, 2]}, "d": {"l": [1]}}),
        ),
    ] {
        assert_eq!(layers(&texts, &[]).unwrap(), expected, "{texts:?}");
    }
    let grouped = {
        let layer = |text| Document::parse(text, "layer").unwrap();
        let lower = layer("a = 5").with_fallback(layer("a { x = 1 }"));
        let config = layer("a { y = 2 }")
            .with_fallback(lower)
            .resolve(&BTreeMap::new());
        config.unwrap().to_json()
    };
    let in_turn = layers(&["a { y = 2 }", "a = 5", "a { x = 1 }"], &[]).unwrap();
    assert_eq!(
        (grouped, in_turn),
        (json!({"a": {"y": 2}}), json!({"a": {"y": 2}}))
    );
}

#[test]
fn substitutions_see_the_final_value_and_look_back_at_their_own_path() {
    check(&[
        ("a = 1, b = ${a}, a = 2", json!({"a": 2, "b": 2})),
        (
            "a = ${b.c}x, b { c = 1 }",
            json!({"a": "1x", "b": {"c": 1}}),
        ),
        (
            "a = [1], a = ${a} [2], a = ${a} [3]",
            json!({"a": [1, 2, 3]}),
        ),
        ("a = ${?a}x, a = ${a}y", json!({"a": "xy"})),
        ("a = [${?nope}, 1], b = ${?nope}", json!({"a": [1]})),
        (
            "base { x = 1 }, child = ${base} { y = ${child.x} }",
            json!({"base": {"x": 1}, "child": {"x": 1, "y": 1}}),
        ),
        (
            "foo { a { c = 1 } }, foo = ${foo.a}, foo { a = 2 }",
            json!({"foo": {"a": 2, "c": 1}}),
        ),
        (
            "x { \"1\" = b, \"0\" = a }, y = ${x} [c]",
            json!({"x": {"1": "b", "0": "a"}, "y": ["a", "b", "c"]}),
        ),
        ("x = [{ a += 1, a += 2 }]", json!({"x": [{"a": [1, 2]}]})),
        // What would contain itself has no value, all the rest has.
        ("a = [${?a}, 1]", json!({"a": [1]})),
        ("a { x = ${?a}, y = 1 }", json!({"a": {"y": 1}})),
        (
            "a { b = ${?a} }, a { b { x = 1 } }",
            json!({"a": {"b": {"x": 1}}}),
        ),
        (
            "d { u = ${s.n}\"/\" }, s = ${d}, s { n = x }",
            json!({"d": {"u": "x/"}, "s": {"u": "x/", "n": "x"}}),
        ),
        ("a = ${?b}, a = 1, b = [${?a}]", json!({"a": 1, "b": [1]})),
    ]);
}

#[test]
fn the_environment_answers_last() {
    let environment = [
        ("NAME", "env"),
        ("LIST_0", "a"),
        ("LIST_1", "b"),
        ("my.name", "dotted"),
    ];
    for (text, expected) in [
        ("a = ${NAME}", json!({"a": "env"})),
        ("a = default, a = ${?NAME}", json!({"a": "env"})),
        ("a = default, a = ${?OTHER}", json!({"a": "default"})),
        (
            "NAME = own, a = ${NAME}",
            json!({"NAME": "own", "a": "own"}),
        ),
        ("NAME = null, a = ${NAME}", json!({"NAME": null, "a": null})),
        ("a = ${LIST[]} [c]", json!({"a": ["a", "b", "c"]})),
        ("a = ${my.name}", json!({"a": "dotted"})),
        ("a = ${?NAME.inner}, b = 1", json!({"b": 1})),
    ] {
        assert_eq!(layers(&[text], &environment).unwrap(), expected, "{text}");
    }
}

#[test]
fn errors_say_where_and_what() {
    for (text, expected) in [
        (
            "a = 1 }",
            "layer0:1:7: found `}`, expected `,` or the end of the line",
        ),
        (
            "{ a = 1",
            "layer0:1:8: found the end of the text, expected `,`, the end of the line or `}`",
        ),
        (
            "a\n\nb = 1",
            "layer0:3:1: found `b`, expected `=`, `:` or `{` after the key",
        ),
        (
            "a =",
            "layer0:1:4: found the end of the text, expected a value",
        ),
        ("a = [1,,2]", "layer0:1:8: found `,`, expected a value"),
        (
            "a = x:y",
            "layer0:1:6: found `:`, expected `,` or the end of the line",
        ),
        (
            "a = user@host",
            "layer0:1:9: `@` is reserved; put the text in double quotes",
        ),
        ("a = \"b", "layer0:1:5: the string has no closing `\"`"),
        (
            "a = \"\\q\"",
            "layer0:1:6: `\\q` is no escape; write `\\\\` for a backslash",
        ),
        (
            "a = \"\\ud83d\"",
            "layer0:1:6: `\\ud83d` is half of a surrogate pair, no character",
        ),
        (
            "é = \"a\tb\"",
            "layer0:1:7: control character U+0009 in a string; write it as `\\u0009`",
        ),
        (
            "a..b = 1",
            "layer0:1:1: invalid path `a..b`: it has a leading, trailing or doubled `.`; quote empty keys as `\"\"`",
        ),
        ("a = ${}", "layer0:1:5: invalid path ``: it is empty"),
        ("a = ${b", "layer0:1:5: the substitution has no closing `}`"),
        (
            "a = $b",
            "layer0:1:5: `$` is reserved; a substitution is written `${path}`",
        ),
        ("[1]", "layer0:1:1: `(root)` is a list, expected an object"),
        ("a = x [1]", "layer0:1:5: cannot join a string and a list"),
        (
            "a = ${b}\nb = ${c}",
            "layer0:2:5: `${c}` is defined nowhere; define it, or write `${?…}` if it may be missing",
        ),
        (
            "a = 1\nb = ${a} [2]",
            "layer0:2:5: cannot join a number and a list",
        ),
        (
            "a = 1, a += 2",
            "layer0:1:13: cannot join a number and a list",
        ),
        (
            "a = ${b}, b = ${a}",
            "layer0:1:15: `${a}` refers to itself through other substitutions",
        ),
        (
            "include \"x\"",
            "layer0:1:1: cannot include `x`: includes are switched off here",
        ),
        (
            "a { include required(\"x\") }",
            "layer0:1:5: cannot include `x`: includes are switched off here",
        ),
        (
            "include x",
            "layer0:1:10: found the end of the text, expected a quoted name after `include`",
        ),
    ] {
        let error = layers(&[text], &[]).unwrap_err();
        assert_eq!(error.to_string(), expected, "{text}");
    }
}

fn parse_as(syntax: Syntax, text: &str) -> Result<Value, Error> {
    let options = ParseOptions {
        syntax,
        includes: None,
    };
    let document = Document::parse_with(text, "text", &options)?;
    document
        .resolve(&BTreeMap::new())
        .map(|config| config.to_json())
}

#[test]
fn json_is_strict() {
    for (text, expected) in [
        ("{}", json!({})),
        (
            "\u{feff} {\"a.b\" : [1, -2.5e3, \"x\", true, null, {}]}\r\n",
            json!({"a.b": [1, -2500.0, "x", true, null, {}]}),
        ),
        ("{\"${a}\": \"${b}\"}", json!({"${a}": "${b}"})),
        (
            "{\"big\": 18446744073709551615}",
            json!({"big": 18_446_744_073_709_551_615_u64}),
        ),
    ] {
        assert_eq!(parse_as(Syntax::Json, text).unwrap(), expected, "{text}");
    }
    for text in [
        "",
        "[]",
        "{a: 1}",
        "{\"a\": b}",
        "{\"a\" = 1}",
        "{\"a\": 1,}",
        "{\"a\": [1,]}",
        "{\"a\": 1 \"b\": 2}",
        "{\"a\": 1} {}",
        "{\"a\": 01}",
        "{\"a\": 1 2}",
        "{\"a\": ${b}}",
        "{\"a\": 1} # c",
        "{\"a\": 1, \"a\": 2}",
        "{\"a\"\n: 1\n\"b\": 2}",
        "{\"a\": [1\n2]}",
        "{\"a\": \"\"\"x\"\"\"}",
        "{\"a\" {}}",
        "{\"a\": 1\u{a0}}",
    ] {
        assert!(parse_as(Syntax::Json, text).is_err(), "{text}");
    }
}

#[test]
fn properties_are_strings_in_objects() {
    let text = "# comment\n! another\na.b = 1\na.c:two\\\n   words\nd  e \nf\\ g=\\u00e9\\t\nh\na = hidden\nx=\\ud83d\\ude00";
    let expected = json!({"a": {"b": "1", "c": "twowords"}, "d": "e ", "f g": "\u{e9}\t", "h": "", "x": "\u{1f600}"});
    assert_eq!(parse_as(Syntax::Properties, text).unwrap(), expected);
    let error = parse_as(Syntax::Properties, "a = 1\nb = \\u12").unwrap_err();
    assert_eq!(
        error.to_string(),
        "text:2:1: `\\u` needs four hexadecimal digits"
    );
}

#[test]
fn the_syntax_follows_from_the_extension() {
    for (name, expected) in [
        ("a.conf", Some(Syntax::Hocon)),
        ("dir.json/a.hocon", Some(Syntax::Hocon)),
        ("a.json", Some(Syntax::Json)),
        ("a.properties", Some(Syntax::Properties)),
        ("a", None),
        ("a.txt", None),
    ] {
        assert_eq!(Syntax::of_file_name(name), expected, "{name}");
    }
}
