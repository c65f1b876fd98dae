//! Hostile and huge input: an error or a value, never a panic, an overflow or a hang.
//!
//! Test threads have 2 MiB of stack, and tests are unoptimised: what passes here passes anywhere.

use std::collections::BTreeMap;
use std::fmt::Write;

use klusterkite_hocon::limits::{INCLUDE_COUNT_MAX, NESTING_MAX};
use klusterkite_hocon::{
    Config, Document, Error, IncludeReader, IncludeRequest, IncludedText, ParseOptions, Syntax,
    units,
};

fn resolve(text: &str) -> Result<Config, Error> {
    Document::parse(text, "test")?.resolve(&BTreeMap::new())
}

/// Writes something for each number.
fn lines(count: usize, mut line: impl FnMut(usize) -> String) -> String {
    (0..count).fold(String::new(), |mut text, index| {
        writeln!(text, "{}", line(index)).unwrap();
        text
    })
}

#[test]
fn nesting_beyond_the_limit_is_an_error() {
    for text in [
        "[".repeat(100_000),
        format!("v = {}", "[".repeat(100_000)),
        "a{".repeat(100_000),
        "a = {".repeat(100_000),
        format!("{}b = 1", "a.".repeat(100_000)),
        format!("{}b = 1", "a.".repeat(NESTING_MAX)),
        format!("v = {}{}", "[".repeat(NESTING_MAX), "]".repeat(NESTING_MAX)),
        format!("v = [{{{}", "a = [{".repeat(100_000)),
        format!("v = ${{?{}b}}", "a.".repeat(NESTING_MAX)),
    ] {
        let error = resolve(&text).unwrap_err();
        assert!(
            matches!(error, Error::Limit { .. } | Error::Path { .. }),
            "{error}"
        );
    }
}

#[test]
fn nesting_up_to_the_limit_works_all_the_way() {
    let depth = NESTING_MAX - 1;
    for text in [
        format!("v = {}{}", "[".repeat(depth), "]".repeat(depth)),
        format!("{}b = 1{}", "a {".repeat(depth), "}".repeat(depth)),
        format!("{}b = 1", "a.".repeat(depth)),
        format!("x = 1\n{}b = ${{x}}\"y\"", "a.".repeat(depth)),
    ] {
        let config = resolve(&text).unwrap();
        let rendered = resolve(&config.render()).unwrap();
        assert_eq!(rendered, config);
        let json = serde_json::to_string(&config.to_json()).unwrap();
        assert_eq!(
            Document::parse(&json, "json")
                .unwrap()
                .literals()
                .unwrap()
                .to_json(),
            config.to_json()
        );
        let read: serde_json::Value = config.deserialize("").unwrap();
        assert_eq!(read, config.to_json());
    }
}

#[test]
fn substitutions_cannot_nest_a_value_beyond_the_limit() {
    let text = format!(
        "a0 = [1]\n{}",
        lines(1000, |n| format!("a{} = [${{a{n}}}]", n + 1))
    );
    assert!(matches!(resolve(&text), Err(Error::Limit { .. })));
}

#[test]
fn many_keys_of_one_object_take_linear_time() {
    let config = resolve(&lines(50_000, |n| format!("a.b.k{n} = 1"))).unwrap();
    assert_eq!(config.config("a.b").unwrap().root().len(), 50_000);
}

#[test]
fn many_layers_of_one_object_take_linear_time() {
    let text =
        "b { y = 1 }\n".to_owned() + &lines(3000, |n| format!("a = ${{b}}\na {{ x{n} = {n} }}"));
    let config = resolve(&text).unwrap();
    assert_eq!(config.config("a").unwrap().root().len(), 3001);
}

#[test]
fn one_long_line_takes_linear_time() {
    let list = vec!["1"; 200_000].join(",");
    let config = resolve(&format!("a = [{list}], b = 2")).unwrap();
    assert_eq!(config.list("a").unwrap().len(), 200_000);
    assert_eq!(config.value("b").unwrap().origin().column(), Some(400_012));
}

#[test]
fn many_appends_take_linear_time() {
    let config = resolve(&"a += 1\n".repeat(20_000)).unwrap();
    assert_eq!(config.list("a").unwrap().len(), 20_000);
    let layers = (0..500).fold(Document::empty(), |lower, n| {
        let layer = Document::parse(&format!("a += {n}"), "layer").unwrap();
        layer.with_fallback(lower)
    });
    let config = layers.resolve(&BTreeMap::new()).unwrap();
    assert_eq!(config.list("a").unwrap().len(), 500);
}

#[test]
fn long_chains_of_substitutions_end_in_a_value_or_an_error() {
    let forward = |count: usize| {
        format!(
            "{}a{count} = 1",
            lines(count, |n| format!("a{n} = ${{a{}}}", n + 1))
        )
    };
    let backward = |count: usize| {
        format!(
            "a0 = 1\n{}",
            lines(count, |n| format!("a{} = ${{a{n}}}", n + 1))
        )
    };
    let own = |count: usize| format!("a = x\n{}", "a = ${a}y\n".repeat(count));
    assert_eq!(resolve(&forward(100)).unwrap().integer("a0"), Ok(1));
    assert_eq!(resolve(&backward(20_000)).unwrap().integer("a20000"), Ok(1));
    assert_eq!(resolve(&own(50)).unwrap().string("a").unwrap().len(), 51);
    for text in [
        forward(20_000),
        own(20_000),
        lines(20_000, |n| format!("a{n} = [{{x = ${{a{}}}}}]", n + 1)) + "a20000 = 1",
        lines(20_000, |n| {
            format!("a{n} = ${{?a{}}} {{ x{n} = 1 }}", n + 1)
        }),
        "a += ${b}\n".repeat(20_000) + "b = 1",
    ] {
        match resolve(&text) {
            Ok(_) | Err(Error::Limit { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn values_that_multiply_are_an_error() {
    let doubled = |value: &str| {
        let step = |n: usize| {
            let last = format!("${{a{n}}}");
            format!("a{} = {}", n + 1, value.replace('?', &last))
        };
        format!("a0 = 12345678\n{}", lines(60, step))
    };
    for value in ["[?, ?]", "{ x = ?, y = ? }", "??", "\"\"??"] {
        let error = resolve(&doubled(value)).unwrap_err();
        assert!(matches!(error, Error::Limit { .. }), "{value}: {error}");
    }
}

#[test]
fn entangled_substitutions_are_an_error() {
    let texts = [
        // Every level is asked for twice, lower levels are defined later.
        lines(60, |n| {
            format!("a{n} = ${{?a{m}}}\na{n} = ${{?a{m}}}", m = n + 1)
        }) + "a60 { x = 1 }",
        lines(60, |n| format!("a{n} = ${{a{m}}} ${{a{m}}}", m = n + 1)) + "a60 { x = 1 }",
        // Everything refers to everything.
        lines(40, |n| {
            let all: Vec<String> = (0..40).map(|m| format!("${{?a{m}}}")).collect();
            format!("a{n} = x\na{n} = {}", all.concat())
        }),
    ];
    for text in texts {
        match resolve(&text) {
            Ok(_) | Err(Error::Limit { .. } | Error::Unresolved { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn whitespace_that_is_none_in_json_ends_in_an_error() {
    let options = ParseOptions {
        syntax: Syntax::Json,
        includes: None,
    };
    for space in ["\u{a0}", "\u{b}", "\u{2003}", "\u{feff}"] {
        for text in [
            format!("${{{space}"),
            format!("{{{space}"),
            format!("{{\"a\":{space}1}}"),
            format!("{{\"a\":${{{space}}}}}"),
        ] {
            let error = Document::parse_with(&text, "json", &options).unwrap_err();
            assert!(
                matches!(error, Error::Syntax { .. } | Error::Path { .. }),
                "{text:?}: {error}"
            );
        }
    }
}

#[test]
fn sizes_and_durations_beyond_all_numbers_are_errors() {
    for number in ["9223372036854775808", "18446744073709551615", "1e300"] {
        for unit in ["z", "Y", "YB"] {
            assert_eq!(
                units::parse_size(&format!("{number} {unit}")),
                Err("is too large a size".to_owned())
            );
        }
        assert_eq!(
            units::parse_duration(&format!("{number} days")),
            Err("is too long a duration".to_owned())
        );
    }
}

#[test]
fn cycles_are_errors_that_say_so() {
    for text in [
        "a = ${a}",
        "a = ${b}, b = ${a}",
        "a = ${b}, b = ${c}, c = ${a}",
        "a = [${a}]",
        "a { b = ${a} }",
        "a = ${b}, b { c = ${a.c} }",
        "a = ${b}x, b = y${a}",
        "a { b = ${a} }, a { b { x = 1 } }",
        "a { b = ${a} { x = 1 } }, a { b { y = 1 } }",
        "a { b = [{ c = ${a}, c { x = 1 } }] }",
    ] {
        let error = resolve(text).unwrap_err();
        assert!(
            matches!(error, Error::Unresolved { cycle: true, .. }),
            "{text}: {error}"
        );
    }
}

/// Includes the texts of a function from number to content.
struct Numbered<F>(F);

impl<F: Fn(usize) -> Option<String>> IncludeReader for Numbered<F> {
    fn read(&self, request: &IncludeRequest<'_>) -> Result<Option<IncludedText>, String> {
        let number = request.name.trim_end_matches(".conf").parse::<usize>();
        Ok(number
            .ok()
            .and_then(|number| (self.0)(number))
            .map(|text| IncludedText {
                text,
                source: request.name.to_owned(),
            }))
    }
}

fn parse_including(
    text: &str,
    content: impl Fn(usize) -> Option<String>,
) -> Result<Document, Error> {
    let options = ParseOptions {
        syntax: Syntax::Hocon,
        includes: Some(&Numbered(content)),
    };
    Document::parse_with(text, "root", &options)
}

#[test]
fn includes_that_never_end_are_errors() {
    let circle = parse_including("include \"0.conf\"", |n| {
        Some(format!("include \"{}.conf\"", 1 - n))
    });
    let deep = parse_including("include \"0.conf\"", |n| {
        Some(format!("include \"{}.conf\"", n + 1))
    });
    let wide = parse_including("include \"0.conf\"", |n| {
        let children = [2 * n + 1, 2 * n + 2];
        Some(
            children
                .map(|child| format!("include \"{child}.conf\"\n"))
                .concat(),
        )
    });
    let nested = parse_including("a { include \"0.conf\" }", |n| {
        Some(format!("a.b.c.d {{ include \"{}.conf\" }}", n + 1))
    });
    let many = parse_including(
        &"include \"0.conf\"\n".repeat(INCLUDE_COUNT_MAX + 1),
        |_| Some(String::new()),
    );
    for (name, result) in [
        ("circle", circle),
        ("deep", deep),
        ("wide", wide),
        ("many", many),
    ] {
        assert!(
            matches!(result, Err(Error::Include { .. })),
            "{name}: {result:?}"
        );
    }
    assert!(matches!(
        nested,
        Err(Error::Include { .. } | Error::Limit { .. })
    ));
}

/// A linear congruential generator: the same inputs in every run.
fn random_numbers(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |below| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    }
}

/// Makes a value that refers to others, nested up to a depth.
fn tangled_value(random: &mut impl FnMut(usize) -> usize, depth: usize) -> String {
    let mut reference = || {
        let optional = ["", "?"][random(2)];
        format!(
            "${{{optional}{}}}",
            TANGLED_NAMES[random(TANGLED_NAMES.len())]
        )
    };
    let (first, second) = (reference(), reference());
    let key = ["a", "b", "c"][random(3)];
    match random(if depth == 0 { 4 } else { 9 }) {
        0 => "1".to_owned(),
        1 | 2 => first,
        3 => format!("{first}x"),
        4 => format!("{first}{second}"),
        5 => format!("{{ {key} = {} }}", tangled_value(random, depth - 1)),
        6 => format!("[{}]", tangled_value(random, depth - 1)),
        7 => format!("{first} {{ {key} = {} }}", tangled_value(random, depth - 1)),
        _ => format!("{first} [{}]", tangled_value(random, depth - 1)),
    }
}

const TANGLED_NAMES: [&str; 9] = ["a", "b", "c", "a.b", "b.a", "c.a", "a.a", "a.b.c", "c.c"];

#[test]
fn tangled_substitutions_end_well_before_any_limit() {
    let mut random = random_numbers(7);
    for _ in 0..5000 {
        let mut merged = Document::empty();
        let mut texts = String::new();
        for _ in 0..=random(2) {
            let text = lines(1 + random(7), |_| {
                let name = TANGLED_NAMES[random(TANGLED_NAMES.len())];
                let operator = ["=", "=", "=", "+="][random(4)];
                format!("{name} {operator} {}", tangled_value(&mut random, 3))
            });
            merged = merged.with_fallback(Document::parse(&text, "layer").unwrap());
            writeln!(texts, "{text}---").unwrap();
        }
        match merged.resolve(&BTreeMap::new()) {
            Ok(_) | Err(Error::Unresolved { .. } | Error::Join { .. }) => {}
            Err(error) => panic!("{error}\n{texts}"),
        }
    }
}

#[test]
fn mutated_texts_never_panic() {
    let seeds = [
        "a { b = [1, 2.5e3, \"x\\u00e9\", null] }, c = ${a.b} [${?HOME}] # end\n",
        "include required(file(\"x\"))\nd += ${e.f}\nd += { g = ${?d} }\n\"q.r\".s = \"\"\"t\n\"\"\"",
        "x = ${y}${z} w, y = { p = ${x} }, z : true false\ny.p.q = -1\n",
        "l = [{a += 1}, [${l}], ${l}]\nl = ${l}\nm = ${l}${m}\nm = 10 s",
    ];
    let alphabet: Vec<char> = "{}[]()=:+,.\"$?#/\\ \n\tab1-e\u{e9}\u{1f600}\u{feff}"
        .chars()
        .collect();
    let mut random = random_numbers(42);
    for _ in 0..4000 {
        let mut text: Vec<char> = seeds[random(seeds.len())].chars().collect();
        for _ in 0..=random(4) {
            let at = random(text.len().max(1)).min(text.len());
            match random(4) {
                0 => text.insert(at, alphabet[random(alphabet.len())]),
                1 => text.truncate(at),
                2 if at < text.len() => drop(text.remove(at)),
                _ => {
                    let other: Vec<char> = seeds[random(seeds.len())].chars().collect();
                    let from = random(other.len());
                    text.splice(at..at, other[from..].iter().copied().take(12));
                }
            }
        }
        let text: String = text.into_iter().collect();
        for syntax in [Syntax::Hocon, Syntax::Json, Syntax::Properties] {
            let options = ParseOptions {
                syntax,
                includes: None,
            };
            let Ok(document) = Document::parse_with(&text, "mutated", &options) else {
                continue;
            };
            drop(document.literals());
            if let Ok(config) = document
                .clone()
                .with_fallback(document)
                .resolve(&BTreeMap::new())
            {
                let again = resolve(&config.render()).unwrap_or_else(|error| {
                    panic!(
                        "{text:?} renders to what does not parse: {error}\n{}",
                        config.render()
                    )
                });
                assert_eq!(again, config, "{text:?}");
            }
        }
    }
}
