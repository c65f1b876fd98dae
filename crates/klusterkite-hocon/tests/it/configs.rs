//! Reading resolved configurations: getters, serde, rendering, parts of documents.

use std::collections::BTreeMap;
use std::time::Duration;

use klusterkite_hocon::{Config, Document, Path, deserialize_duration, deserialize_size, quote};
use serde::Deserialize;
use serde_json::json;

fn config(text: &str) -> Config {
    let document = Document::parse(text, "test").unwrap_or_else(|error| panic!("{text}: {error}"));
    document
        .resolve(&BTreeMap::new())
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

const SETTINGS: &str = r#"
name = hocon, number = 42, text_number = "43", float = 2.5, exponent = 1e3
yes = yes, off = "off", nothing = null
time = 10s, idle = 250, long = "1.5 minutes"
size = 64K, disk = 2 GB
list = [1, two, true], numbered { "1" = b, "0" = a, x = c }
server { host = localhost, "a.b" { port = 80 } }
"#;

#[test]
fn getters_convert() {
    let config = config(SETTINGS);
    assert_eq!(config.string("name").as_deref(), Ok("hocon"));
    assert_eq!(config.string("float").as_deref(), Ok("2.5"));
    assert_eq!(config.string("yes").as_deref(), Ok("yes"));
    assert_eq!(config.integer("number"), Ok(42));
    assert_eq!(config.integer("text_number"), Ok(43));
    assert_eq!(config.integer("exponent"), Ok(1000));
    assert_eq!(config.float("float"), Ok(2.5));
    assert_eq!(config.boolean("yes"), Ok(true));
    assert_eq!(config.boolean("off"), Ok(false));
    assert_eq!(config.duration("time"), Ok(Duration::from_secs(10)));
    assert_eq!(config.duration("idle"), Ok(Duration::from_millis(250)));
    assert_eq!(config.duration("long"), Ok(Duration::from_secs(90)));
    assert_eq!(config.size_bytes("size"), Ok(65_536));
    assert_eq!(config.size_bytes("disk"), Ok(2_000_000_000));
    assert_eq!(config.string_list("list").unwrap(), ["1", "two", "true"]);
    assert_eq!(config.string_list("numbered").unwrap(), ["a", "b"]);
    assert_eq!(
        config.config("server").unwrap().string("host").unwrap(),
        "localhost"
    );
    assert_eq!(config.integer("server.\"a.b\".port"), Ok(80));
}

#[test]
fn optional_getters_take_null_for_missing_but_no_wrong_type() {
    let config = config(SETTINGS);
    for path in ["nothing", "missing", "server.missing", "name.missing"] {
        assert_eq!(config.string_optional(path), Ok(None), "{path}");
        assert_eq!(config.integer_optional(path), Ok(None), "{path}");
        assert_eq!(config.boolean_optional(path), Ok(None), "{path}");
        assert_eq!(config.duration_optional(path), Ok(None), "{path}");
        assert_eq!(config.size_bytes_optional(path), Ok(None), "{path}");
        assert_eq!(config.string_list_optional(path), Ok(None), "{path}");
        assert!(config.config_optional(path).unwrap().is_none(), "{path}");
        assert!(!config.has(path), "{path}");
    }
    assert_eq!(config.integer_optional("number"), Ok(Some(42)));
    assert!(config.integer_optional("name").is_err());
    assert!(config.value("nothing").unwrap().is_null());
}

#[test]
fn getters_name_path_and_place() {
    let config = config("a {\n  b = text\n  c = null, d = [x], e = 5x\n}");
    let inner = config.config("a").unwrap();
    for (error, expected) in [
        (
            config.integer("a.b").unwrap_err(),
            "test:2:7: `a.b` is a string, expected a whole number",
        ),
        (
            inner.integer("b").unwrap_err(),
            "test:2:7: `a.b` is a string, expected a whole number",
        ),
        (
            inner.clone().into_root().boolean("b").unwrap_err(),
            "test:2:7: `b` is a string, expected a boolean",
        ),
        (
            config.string("a.c").unwrap_err(),
            "test:3:7: `a.c` is null, expected a string",
        ),
        (
            config.string("a.d").unwrap_err(),
            "test:3:17: `a.d` is a list, expected a string",
        ),
        (
            config.duration("a.e").unwrap_err(),
            "test:3:26: `a.e` has no duration unit `x` (use ns, us, ms, s, m, h or d)",
        ),
        (
            config.string("a.z").unwrap_err(),
            "`a.z` is missing in test:1:3",
        ),
        (
            config.string("z.z").unwrap_err(),
            "`z.z` is missing in test:1:1",
        ),
        (
            config.string("a.").unwrap_err(),
            "test:1:1: invalid path `a.`: it has a leading, trailing or doubled `.`; quote empty keys as `\"\"`",
        ),
        (
            inner.error_at("b", "is not nice").clone(),
            "test:2:7: `a.b` is not nice",
        ),
    ] {
        assert_eq!(error.to_string(), expected);
    }
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Server {
    host: String,
    port: u16,
    #[serde(default)]
    tags: Vec<String>,
    mode: Mode,
    limit: Option<f32>,
    #[serde(default, deserialize_with = "deserialize_duration")]
    keep_alive: Duration,
    #[serde(default, deserialize_with = "deserialize_size")]
    buffer: u64,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
enum Mode {
    Plain,
    Limited(u32),
    Shaped { rate: i64 },
}

#[test]
fn serde_reads_what_getters_would() {
    let text = "s { host = 10.0.0.1, port = \"8080\", tags { \"0\" = x }, mode = plain, limit = null, keepAlive = 2m, buffer = 8k }";
    let server: Server = config(text).deserialize("s").unwrap();
    assert_eq!(
        server,
        Server {
            host: "10.0.0.1".to_owned(),
            port: 8080,
            tags: vec!["x".to_owned()],
            mode: Mode::Plain,
            limit: None,
            keep_alive: Duration::from_mins(2),
            buffer: 8192,
        }
    );
    let modes: Vec<Mode> = config("m = [plain, { limited = 5 }, { shaped { rate = -1 } }]")
        .deserialize("m")
        .unwrap();
    assert_eq!(
        modes,
        [Mode::Plain, Mode::Limited(5), Mode::Shaped { rate: -1 }]
    );
    let all: BTreeMap<String, serde_json::Value> =
        config("a = 1, b = [x, 2.5, {}]").deserialize("").unwrap();
    assert_eq!(json!(all), json!({"a": 1, "b": ["x", 2.5, {}]}));
    let tuple: (i8, Option<bool>, char) = config("t = [-1, on, x]").deserialize("t").unwrap();
    assert_eq!(tuple, (-1, Some(true), 'x'));
}

#[test]
fn serde_errors_name_path_and_place() {
    for (text, expected) in [
        (
            "s { host = a, port = 70000, mode = plain }",
            "test:1:22: `s.port` does not fit: invalid value: integer `70000`, expected u16",
        ),
        (
            "s { host = a, port = x, mode = plain }",
            "test:1:22: `s.port` does not fit: invalid type: string \"x\", expected u16",
        ),
        (
            "s { host = [a], port = 1, mode = plain }",
            "test:1:12: `s.host` does not fit: invalid type: sequence, expected a string",
        ),
        (
            "s { host = a, port = 1, mode { limited = -1 } }",
            "test:1:42: `s.mode.limited` does not fit: invalid value: integer `-1`, expected u32",
        ),
        (
            "s { host = a, port = 1, mode = odd }",
            "test:1:32: `s.mode` does not fit: unknown variant `odd`, expected one of `plain`, `limited`, `shaped`",
        ),
        (
            "s { host = a, port = 1 }",
            "test:1:3: `s` does not fit: missing field `mode`",
        ),
        (
            "s { host = a, port = 1, mode = plain, hots = b }",
            "test:1:46: `s.hots` does not fit: unknown field `hots`, expected one of `host`, `port`, `tags`, `mode`, `limit`, `keepAlive`, `buffer`",
        ),
        (
            "s { host = a, port = 1, mode = plain, tags = [x, [y]] }",
            "test:1:50: `s.tags.1` does not fit: invalid type: sequence, expected a string",
        ),
        (
            "s { host = a, port = 1, mode = plain, keepAlive = soon }",
            "test:1:51: `s.keepAlive` does not fit: `soon` has no duration unit `soon` (use ns, us, ms, s, m, h or d)",
        ),
        ("t = 1", "`s` is missing in test:1:1"),
    ] {
        let error = config(text).deserialize::<Server>("s").unwrap_err();
        assert_eq!(error.to_string(), expected, "{text}");
    }
}

#[test]
fn rendering_reads_back_the_same() {
    let text = r#"
        a = x y, b = "true", c = "12", d = 007, e = "", f = "${g}", "h.i" = [], j {}, k { l = [[1], { m = null }] }
        n = "line\nbreak \u0001 \"quoted\" \\ é 😀", include2 = 1, "include" = 2, o = a//b, p = 10.0.0.1, q = -5
        r = [1, 2, 3, 4, 5, 6, 7, 8, 9, "ten: 10"]
    "#;
    let config = config(text);
    let rendered = config.render();
    assert_eq!(self::config(&rendered), config, "{rendered}");
    assert_eq!(
        self::config(&config.to_json().to_string()).to_json(),
        config.to_json()
    );
    assert_eq!(
        config.to_document().resolve(&BTreeMap::new()).unwrap(),
        config
    );
    assert_eq!(
        self::config("a = x y, b { c = [1, z] }").render(),
        "a = \"x y\"\nb {\n  c = [1, z]\n}\n"
    );
}

#[test]
fn quoted_text_is_valid_in_hocon_and_json() {
    for text in [
        "",
        "plain",
        "\"\\\n\r\t\u{0}\u{7f}\u{85}\u{2028}\u{feff}",
        "${x} é 😀 # //",
    ] {
        let quoted = quote(text);
        assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
        assert_eq!(config(&format!("a = {quoted}")).string("a").unwrap(), text);
    }
}

#[test]
fn paths_render_to_what_parses_to_them() {
    for text in [
        "a",
        "a.b",
        "\"a.b\".c",
        "\"\"",
        "\"include\".x",
        "a b",
        "\"a\\\"b\"",
        "ключ",
    ] {
        let path = Path::parse(text).unwrap();
        assert_eq!(Path::parse(&path.to_string()).unwrap(), path, "{text}");
    }
}

#[test]
fn sections_and_literals_show_what_is_known_before_resolving() {
    let text = "priority = role, config { a = ${b}, c { d = 1 } }, open = ${x}, list = [${y}], plus += 1, e = ${f}\ne { g = 1 }";
    let document = Document::parse(text, "test").unwrap();
    let section = document.section("config").unwrap().unwrap();
    let keys: Vec<&str> = section.keys().map(|(key, _)| key).collect();
    assert_eq!(keys, ["a", "c"]);
    assert_eq!(
        document
            .section("config.c")
            .unwrap()
            .unwrap()
            .resolve(&BTreeMap::new())
            .unwrap()
            .to_json(),
        json!({"d": 1})
    );
    assert!(document.section("nowhere").unwrap().is_none());
    assert_eq!(
        document.section("config.a").unwrap_err().to_string(),
        "test:1:31: `config.a` is a substitution, expected an object without substitution"
    );
    assert_eq!(
        document.literals().unwrap().to_json(),
        json!({"priority": "role", "config": {"c": {"d": 1}}})
    );
    let b = Document::from_json(&json!({"b": "${not a substitution}"}), "json").unwrap();
    assert_eq!(
        section
            .with_fallback(b)
            .resolve(&BTreeMap::new())
            .unwrap()
            .to_json(),
        json!({"a": "${not a substitution}", "c": {"d": 1}, "b": "${not a substitution}"})
    );
}

#[test]
fn documents_move_under_paths_with_their_appends() {
    let part = Document::parse("l += 2, v = ${outer}", "part").unwrap();
    let whole = Document::parse("outer = 1, x.\"y.z\".l = [1]", "whole").unwrap();
    let moved = part.nested(&Path::parse("x.\"y.z\"").unwrap()).unwrap();
    let merged = moved
        .with_fallback(whole)
        .resolve(&BTreeMap::new())
        .unwrap();
    assert_eq!(
        merged.to_json(),
        json!({"x": {"y.z": {"l": [1, 2], "v": 1}}, "outer": 1})
    );
    assert_eq!(merged.without("x").to_json(), json!({"outer": 1}));
    assert!(Document::from_json(&json!([1]), "list").is_err());
}

#[test]
fn a_document_may_be_merged_with_itself() {
    let document = Document::parse("l += 1, s = ${?s}x, o { p = ${l} }", "twice").unwrap();
    let merged = document
        .clone()
        .with_fallback(document)
        .resolve(&BTreeMap::new())
        .unwrap();
    assert_eq!(
        merged.to_json(),
        json!({"l": [1, 1], "s": "xx", "o": {"p": [1, 1]}})
    );
}

#[test]
fn documents_and_configurations_cross_threads() {
    fn check<T: Send + Sync + Clone>() {}
    check::<Document>();
    check::<Config>();
}
