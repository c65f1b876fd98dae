//! Lines in, lines out.

use std::io::{self, Write};

use expect_test::{Expect, expect};
use klusterkite_migrator::serve::{serve_failure, serve_migrator, serve_seeder};
use klusterkite_migrator::{Error, Failure};
use klusterkite_wire::migrator::{LINE_BYTES_MAX, RpcMessage};

use crate::fixture::{Memory, Once};

const HELLO: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocol":1}}"#;

fn request(id: u64, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
}

fn migrate(id: u64, resource: &str, point: &str) -> String {
    let params = format!(r#"{{"resource":"{resource}","point":"{point}","fence":7}}"#);
    request(id, "migrate", &params)
}

fn serve(migrator: &mut Memory, lines: &[&str]) -> (String, Result<(), Error>) {
    let mut output = Vec::new();
    let input = lines.join("\n");
    let result = serve_migrator(migrator, input.as_bytes(), &mut output);
    (String::from_utf8(output).unwrap(), result)
}

fn check(migrator: &mut Memory, lines: &[&str], expected: Expect) {
    let (output, result) = serve(migrator, lines);
    result.unwrap();
    expected.assert_eq(&output);
}

#[test]
fn a_migrator_says_what_it_is_and_where_its_resources_are() {
    let lines = [
        HELLO,
        &request(2, "resources", "null"),
        &request(3, "currentPoint", r#"{"resource":"db"}"#),
    ];
    check(
        &mut Memory::new(),
        &lines,
        expect![[r#"
            {"jsonrpc":"2.0","id":1,"result":{"protocol":1,"name":"memory","dependencyType":"codeDependsOnResource","priority":1.5,"points":["p1","p2","p3"]}}
            {"jsonrpc":"2.0","id":2,"result":[{"code":"db","name":"the db","currentPoint":null}]}
            {"jsonrpc":"2.0","id":3,"result":null}
        "#]],
    );
}

#[test]
fn a_move_reports_each_step_and_a_repeated_move_does_nothing() {
    let mut migrator = Memory::new();
    let lines = [
        HELLO,
        &migrate(2, "db", "p2"),
        &migrate(3, "db", "p2"),
        &migrate(4, "db", "p1"),
    ];
    check(
        &mut migrator,
        &lines,
        expect![[r#"
            {"jsonrpc":"2.0","id":1,"result":{"protocol":1,"name":"memory","dependencyType":"codeDependsOnResource","priority":1.5,"points":["p1","p2","p3"]}}
            {"jsonrpc":"2.0","method":"log","params":{"level":"info","message":"Up(Point(\"p1\"))"}}
            {"jsonrpc":"2.0","method":"progress","params":{"done":1,"total":2}}
            {"jsonrpc":"2.0","method":"log","params":{"level":"info","message":"Up(Point(\"p2\"))"}}
            {"jsonrpc":"2.0","method":"progress","params":{"done":2,"total":2}}
            {"jsonrpc":"2.0","id":2,"result":{"point":"p2"}}
            {"jsonrpc":"2.0","id":3,"result":{"point":"p2"}}
            {"jsonrpc":"2.0","method":"log","params":{"level":"info","message":"Down(Point(\"p2\"))"}}
            {"jsonrpc":"2.0","method":"progress","params":{"done":1,"total":1}}
            {"jsonrpc":"2.0","id":4,"result":{"point":"p1"}}
        "#]],
    );
}

#[test]
fn a_dry_run_changes_nothing() {
    let mut migrator = Memory::new();
    let dry = r#"{"resource":"db","point":"p1","fence":7,"dryRun":true}"#;
    let lines = [
        HELLO,
        &request(2, "migrate", dry),
        &request(3, "currentPoint", r#"{"resource":"db"}"#),
    ];
    let (output, _) = serve(&mut migrator, &lines);
    assert!(
        output.contains(r#""id":2,"result":{"point":"p1"}"#),
        "{output}"
    );
    assert!(output.contains(r#""id":3,"result":null"#), "{output}");
}

#[test]
fn what_is_not_a_request_is_answered_by_an_error_and_the_loop_goes_on() {
    let deep = "[".repeat(100_000);
    let lines = [
        "garbage",
        "",
        "{\"jsonrpc\":\"2.0\"",
        "[]",
        "7",
        r#"{"jsonrpc":"1.0","id":4,"method":"resources"}"#,
        r#"{"jsonrpc":"2.0","id":5}"#,
        r#"{"jsonrpc":"2.0","id":"six","method":"resources"}"#,
        r#"{"jsonrpc":"2.0","method":"log","params":{}}"#,
        &request(7, "resources", "null"),
        &request(8, "initialize", r#"{"protocol":2}"#),
        &request(9, "initialize", "[]"),
        HELLO,
        &request(10, "drop", "null"),
        &request(11, "currentPoint", "{}"),
        &request(12, "currentPoint", r#"{"resource":"nobody"}"#),
        &migrate(13, "nobody", "p1"),
        &migrate(14, "db", "p9"),
        &migrate(15, "lazy", "p1"),
        &deep,
        &request(16, "currentPoint", r#"{"resource":"db"}"#),
    ];
    check(
        &mut Memory::with(&["db", "lazy"]),
        &lines,
        expect![[r#"
            {"jsonrpc":"2.0","error":{"code":-32700,"message":"the line is not JSON: expected value at line 1 column 1"}}
            {"jsonrpc":"2.0","error":{"code":-32700,"message":"the line is not JSON: EOF while parsing an object at line 1 column 16"}}
            {"jsonrpc":"2.0","error":{"code":-32600,"message":"the line is not a JSON-RPC message: invalid length 0, expected struct RpcMessage with 6 elements"}}
            {"jsonrpc":"2.0","error":{"code":-32600,"message":"the line is not a JSON-RPC message: invalid type: integer `7`, expected struct RpcMessage"}}
            {"jsonrpc":"2.0","id":4,"error":{"code":-32600,"message":"`jsonrpc` is not `2.0`"}}
            {"jsonrpc":"2.0","id":5,"error":{"code":-32600,"message":"the message has no `method`"}}
            {"jsonrpc":"2.0","error":{"code":-32600,"message":"the line is not a JSON-RPC message: invalid type: string \"six\", expected u64"}}
            {"jsonrpc":"2.0","id":7,"error":{"code":-32600,"message":"`initialize` has to come before `resources`"}}
            {"jsonrpc":"2.0","id":8,"error":{"code":-32602,"message":"protocol 2 is not spoken here, 1 is"}}
            {"jsonrpc":"2.0","id":9,"error":{"code":-32602,"message":"bad parameters: invalid length 0, expected struct InitializeParams with 1 element"}}
            {"jsonrpc":"2.0","id":1,"result":{"protocol":1,"name":"memory","dependencyType":"codeDependsOnResource","priority":1.5,"points":["p1","p2","p3"]}}
            {"jsonrpc":"2.0","id":10,"error":{"code":-32601,"message":"method `drop` is not known"}}
            {"jsonrpc":"2.0","id":11,"error":{"code":-32602,"message":"bad parameters: missing field `resource`"}}
            {"jsonrpc":"2.0","id":12,"error":{"code":-32602,"message":"resource `nobody` is not one of the migrator's resources"}}
            {"jsonrpc":"2.0","id":13,"error":{"code":-32602,"message":"resource `nobody` is not one of the migrator's resources"}}
            {"jsonrpc":"2.0","id":14,"error":{"code":-32602,"message":"point `p9` is not one of the migrator's points (`p1`, `p2`, `p3`)"}}
            {"jsonrpc":"2.0","id":15,"error":{"code":-32000,"message":"resource `lazy` is not created after the move to `p1`"}}
            {"jsonrpc":"2.0","error":{"code":-32700,"message":"the line is not JSON: recursion limit exceeded at line 1 column 128"}}
            {"jsonrpc":"2.0","id":16,"result":null}
        "#]],
    );
}

#[test]
fn lines_that_are_too_long_or_not_text_are_refused_and_the_next_is_read() {
    let long = "x".repeat(LINE_BYTES_MAX + 1);
    let input = [long.as_bytes(), b"\n\xff\xfe\n", HELLO.as_bytes()].concat();
    let mut output = Vec::new();
    serve_migrator(&mut Memory::new(), input.as_slice(), &mut output).unwrap();
    let output = String::from_utf8(output).unwrap();
    let lines: Vec<&str> = output.lines().collect();
    assert!(lines[0].contains("the line has 1048577 bytes, more than 1048576"));
    assert!(lines[1].contains("the line is not JSON"));
    assert!(lines[2].contains(r#""id":1,"result""#));
}

#[test]
fn a_resource_that_cannot_be_read_does_not_hide_the_others() {
    let lines = [HELLO, &request(2, "resources", "null")];
    let (output, _) = serve(&mut Memory::with(&["fails", "db"]), &lines);
    expect![[r#"{"jsonrpc":"2.0","id":2,"result":[{"code":"fails","name":"the fails","currentPoint":null,"error":"the disk is gone"},{"code":"db","name":"the db","currentPoint":null}]}"#]]
        .assert_eq(output.lines().nth(1).unwrap());
}

#[test]
fn a_panic_is_one_error_answer_and_the_end() {
    let lines = [
        HELLO,
        &request(2, "currentPoint", r#"{"resource":"panics"}"#),
        &request(3, "resources", "null"),
    ];
    let (output, result) = serve(&mut Memory::with(&["panics"]), &lines);
    expect![[r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32000,"message":"`currentPoint` panicked: no such luck"}}"#]]
        .assert_eq(output.lines().nth(1).unwrap());
    assert_eq!(output.lines().count(), 2);
    assert!(matches!(result, Err(Error::Panicked { .. })), "{result:?}");
}

#[test]
fn a_description_that_is_no_line_of_points_is_refused() {
    for (points, expected) in [
        (vec![], "the list of points is empty"),
        (vec!["a", "b", "a"], "point `a` is listed twice"),
    ] {
        let mut migrator = Memory::new();
        migrator.points = points.iter().map(|text| text.parse().unwrap()).collect();
        let (output, _) = serve(&mut migrator, &[HELLO]);
        assert!(output.contains(expected), "{output}");
    }
    let lines = [HELLO, &request(2, "resources", "null")];
    let (output, _) = serve(&mut Memory::with(&["db", "db"]), &lines);
    assert!(output.contains("resource `db` is listed twice"), "{output}");
}

#[test]
fn an_answer_that_no_reader_would_take_becomes_an_error() {
    let mut migrator = Memory::new();
    let point = |number: u64| format!("{number:01024}").parse().unwrap();
    migrator.points = (0..1100).map(point).collect();
    let (output, _) = serve(&mut migrator, &[HELLO]);
    assert!(
        output.contains("the answer to `initialize` has"),
        "{output}"
    );
}

#[test]
fn shutdown_is_answered_and_ends_the_loop() {
    let shutdown = request(2, "shutdown", "null");
    let lines = [shutdown.as_str(), HELLO];
    let (output, result) = serve(&mut Memory::new(), &lines);
    result.unwrap();
    assert_eq!(output, "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":null}\n");
}

#[test]
fn a_seeder_says_what_it_changed() {
    let lines = [
        HELLO,
        &request(2, "seed", "null"),
        &request(3, "seed", "null"),
        &request(4, "migrate", "null"),
    ];
    let mut output = Vec::new();
    serve_seeder(&mut Once(false), lines.join("\n").as_bytes(), &mut output).unwrap();
    expect![[r#"
        {"jsonrpc":"2.0","id":1,"result":{"protocol":1,"name":"once"}}
        {"jsonrpc":"2.0","method":"log","params":{"level":"warn","message":"looking"}}
        {"jsonrpc":"2.0","id":2,"result":{"changed":true,"message":"made"}}
        {"jsonrpc":"2.0","method":"log","params":{"level":"warn","message":"looking"}}
        {"jsonrpc":"2.0","id":3,"result":{"changed":false,"message":"was there"}}
        {"jsonrpc":"2.0","id":4,"error":{"code":-32601,"message":"method `migrate` is not known"}}
    "#]]
    .assert_eq(&String::from_utf8(output).unwrap());
}

#[test]
fn a_program_that_could_not_be_made_answers_with_the_reason() {
    let failure = Failure::from("the setting `Db` is missing");
    let mut output = Vec::new();
    serve_failure(&failure, HELLO.as_bytes(), &mut output).unwrap();
    expect![[r#"
        {"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"the setting `Db` is missing"}}
    "#]]
    .assert_eq(&String::from_utf8(output).unwrap());
}

/// Takes some bytes and is closed then.
struct Closing(usize);

impl Write for Closing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(bytes.len())
            .ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_is_gone_ends_the_loop_even_inside_a_move() {
    let input = [
        HELLO.to_owned(),
        migrate(2, "db", "p3"),
        migrate(3, "db", "p1"),
    ]
    .join("\n");
    for room in [0, 200, 300, 400] {
        let result = serve_migrator(&mut Memory::new(), input.as_bytes(), Closing(room));
        assert!(matches!(result, Err(Error::Write(_))), "{room}: {result:?}");
    }
}

/// A generator whose numbers are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

#[test]
fn requests_with_random_damage_get_answers_that_keep_the_protocol() {
    let requests = [
        HELLO.to_owned(),
        request(2, "resources", "null"),
        migrate(3, "db", "p2"),
    ];
    let text = requests.join("\n");
    for seed in 0..3000 {
        let mut numbers = Numbers(seed);
        let mut input = text.clone().into_bytes();
        for _ in 0..=numbers.below(6) {
            let place = numbers.below(input.len());
            match numbers.below(3) {
                0 => input[place] = u8::try_from(numbers.below(256)).unwrap(),
                1 => drop(input.remove(place)),
                _ => input.insert(place, b"\n\"{}[],:0"[numbers.below(9)]),
            }
        }
        let mut output = Vec::new();
        serve_migrator(&mut Memory::new(), input.as_slice(), &mut output).unwrap();
        let answers = output
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        for line in answers {
            let message: RpcMessage = serde_json::from_slice(line).unwrap();
            let kinds = [
                message.method.is_some(),
                message.result.is_some(),
                message.error.is_some(),
            ];
            assert_eq!(kinds.iter().filter(|kind| **kind).count(), 1, "seed {seed}");
        }
    }
}
