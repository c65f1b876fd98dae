//! Settings files: resolving and explaining.

use std::fs;
use std::process::Command;

use expect_test::{Expect, expect};
use tempfile::TempDir;

use crate::manager::Ran;

/// A directory with files.
struct Files(TempDir);

impl Files {
    fn new<const N: usize>(files: [(&str, &str); N]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(directory)
    }

    fn run(&self, line: &str) -> Ran {
        self.run_with(line, [])
    }

    /// Runs a command with exactly these variables in its environment.
    fn run_with<const N: usize>(&self, line: &str, variables: [(&str, &str); N]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_klusterkite"));
        command
            .args(line.split_whitespace())
            .env_clear()
            .envs(variables)
            .current_dir(self.0.path());
        Ran::of(&mut command)
    }
}

fn check(ran: &Ran, code: i32, expected: Expect) {
    assert_eq!(ran.code, code, "{ran:?}");
    expected.assert_eq(&format!("{}{}", ran.out, ran.err));
}

fn layered() -> Files {
    Files::new([
        (
            "app.conf",
            "include \"shared/ports\"\nAcme { host = example.org, tags += web }\n",
        ),
        (
            "shared/ports.conf",
            "Acme.port = ${?ACME_PORT}\ninclude \"more\"\n",
        ),
        ("shared/more.json", "{ \"Acme\": { \"admin\": 9000 } }"),
        (
            "defaults.conf",
            "# Defaults.\nAcme {\n  host = localhost\n  port = 8080\n  url = \"http://\"${Acme.host}\":\"${Acme.port}\n  tags = [all]\n}\n",
        ),
    ])
}

#[test]
fn files_are_merged_before_they_are_resolved_the_first_one_wins() {
    let files = layered();
    let ran = files.run_with(
        "settings resolve app.conf defaults.conf",
        [("ACME_PORT", "81")],
    );
    check(
        &ran,
        0,
        expect![[r#"
            Acme {
              port = "81"
              admin = 9000
              host = example.org
              tags = [all, web]
              url = "http://example.org:81"
            }
        "#]],
    );
    let ran = files.run("settings resolve app.conf defaults.conf --json");
    assert_eq!(ran.json()["Acme"]["url"], "http://example.org:8080");
    let ran = files.run("settings resolve defaults.conf app.conf --output json");
    assert_eq!(ran.json()["Acme"]["url"], "http://localhost:8080");
}

#[test]
fn an_error_names_file_line_and_column_and_shows_the_line() {
    let files = Files::new([
        (
            "missing.conf",
            "a = 1\nAcme { port = 1, url = \"x\"${Acme.hots} }\n",
        ),
        ("broken.conf", "a {\n  b = [1, 2\n}\n"),
        ("outer.conf", "x = 1\ninclude \"broken.conf\"\n"),
        ("needs.conf", "include required(\"nothing.conf\")\n"),
        ("self.conf", "include \"self.conf\"\n"),
        ("cycle.conf", "a = ${b}\nb = ${a}\n"),
        ("twice.json", "{ \"a\": 1,\n  \"a\": 2 }"),
    ]);
    let cases = [
        (
            "missing.conf",
            expect![[r#"
                error: missing.conf:2:27: `${Acme.hots}` is defined nowhere; define it, or write `${?…}` if it may be missing
                2 | Acme { port = 1, url = "x"${Acme.hots} }
                  |                           ^
            "#]],
        ),
        (
            "broken.conf",
            expect![[r"
            error: broken.conf:3:1: found `}`, expected a value
            3 | }
              | ^
        "]],
        ),
        (
            "outer.conf",
            expect![[r"
            error: broken.conf:3:1: found `}`, expected a value
            3 | }
              | ^
        "]],
        ),
        (
            "needs.conf",
            expect![[r#"
            error: needs.conf:1:1: cannot include `nothing.conf`: it is required and does not exist
            1 | include required("nothing.conf")
              | ^
        "#]],
        ),
        (
            "self.conf",
            expect![[r#"
            error: self.conf:1:1: cannot include `self.conf`: it is being included already, by itself or what it includes
            1 | include "self.conf"
              | ^
        "#]],
        ),
        (
            "cycle.conf",
            expect![[r"
            error: cycle.conf:2:5: `${a}` refers to itself through other substitutions
            2 | b = ${a}
              |     ^
        "]],
        ),
        (
            "twice.json",
            expect![[r#"
            error: twice.json:2:3: duplicate key `a`
            2 |   "a": 2 }
              |   ^
        "#]],
        ),
    ];
    for (file, expected) in cases {
        let ran = files.run(&format!("settings resolve {file} --json"));
        check(&ran, 2, expected);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let files = Files::new([("including.conf", "\ninclude \"latin\"")]);
    fs::write(files.0.path().join("latin.conf"), b"a = 1\nb = \xe9\n").unwrap();
    fs::write(files.0.path().join("large.conf"), vec![b' '; 5 << 20]).unwrap();
    check(
        &files.run("settings resolve none.conf"),
        1,
        expect![[r"
            error: cannot read `none.conf`: No such file or directory (os error 2)
        "]],
    );
    check(
        &files.run("settings resolve ."),
        1,
        expect![[r"
        error: cannot read `.`: Is a directory (os error 21)
    "]],
    );
    check(
        &files.run("settings resolve latin.conf"),
        1,
        expect![[r"
            error: cannot read `latin.conf`: line 2, column 5 is not UTF-8; save the file as UTF-8
        "]],
    );
    check(
        &files.run("settings resolve large.conf"),
        1,
        expect![[r"
            error: cannot read `large.conf`: it is larger than 4194304 bytes
        "]],
    );
    check(
        &files.run("settings resolve including.conf"),
        2,
        expect![[r#"
            error: including.conf:2:1: cannot include `latin`: `latin.conf`: line 2, column 5 is not UTF-8; save the file as UTF-8
            2 | include "latin"
              | ^
        "#]],
    );
}

#[test]
fn an_explanation_names_the_layer_that_gave_the_value_and_what_it_overrode() {
    let files = layered();
    let explain =
        |path: &str| files.run(&format!("settings explain {path} app.conf defaults.conf"));
    check(
        &explain("Acme.host"),
        0,
        expect![[r#"
        Acme.host = "example.org"
          value       app.conf:2:15       example.org
          overridden  defaults.conf:3:10  localhost
    "#]],
    );
    check(
        &explain("Acme.port"),
        0,
        expect![[r"
        Acme.port = 8080
          undefined   shared/ports.conf:1:13  ${?ACME_PORT}
          value       defaults.conf:4:10      8080
    "]],
    );
    check(
        &explain("Acme.url"),
        0,
        expect![[r#"
        Acme.url = "http://example.org:8080"
          value       defaults.conf:5:9  "http://"${Acme.host}":"${Acme.port}
    "#]],
    );
    check(
        &explain("Acme.tags"),
        0,
        expect![[r#"
            Acme.tags = ["all","web"]
              part        app.conf:2:36       (what was there) [web]
              value       defaults.conf:6:10  [all]
        "#]],
    );
    check(
        &explain("Acme.admin"),
        0,
        expect![[r"
        Acme.admin = 9000
          value       shared/more.json:1:22  9000
    "]],
    );
    check(
        &explain("Acme.nothing"),
        5,
        expect![[r"
        error: no file gives `Acme.nothing` a value
    "]],
    );
    check(
        &explain("Acme..port"),
        2,
        expect![[r#"
        error: path expression: invalid path `Acme..port`: it has a leading, trailing or doubled `.`; quote empty keys as `""`
    "#]],
    );
    let ran = files.run_with(
        "settings explain Acme.port app.conf defaults.conf",
        [("ACME_PORT", "81")],
    );
    check(
        &ran,
        0,
        expect![[r#"
        Acme.port = "81"
          value       shared/ports.conf:1:13            ${?ACME_PORT}
          found at    environment variable `ACME_PORT`
          overridden  defaults.conf:4:10                8080
    "#]],
    );
}

#[test]
fn an_object_is_explained_setting_by_setting() {
    let files = Files::new([
        ("app.conf", "a = ${base} { x = 1 }\n"),
        (
            "base.conf",
            "base { x = 0, y = 2, z {} }\na { x = 7, \"q.r\" = 3 }\n",
        ),
    ]);
    let ran = files.run("settings explain a app.conf base.conf");
    check(
        &ran,
        0,
        expect![[r#"
        a.x = 1
          value       app.conf:1:19  1
          overridden  app.conf:1:5   ${base}
          overridden  base.conf:2:9  7
        a."q.r" = 3
          undefined   app.conf:1:5    ${base}
          value       base.conf:2:20  3
        a.y = 2
          value       app.conf:1:5    ${base}
          found at    base.conf:1:19
        a.z = {}
          value       app.conf:1:5    ${base}
          found at    base.conf:1:24
    "#]],
    );
    let ran = files.run("settings explain a.x app.conf base.conf --json");
    check(
        &ran,
        0,
        expect![[r#"
        {
          "items": [
            {
              "path": "a.x",
              "value": 1,
              "origin": {
                "source": "app.conf",
                "line": 1,
                "column": 19
              },
              "layers": [
                {
                  "role": "value",
                  "origin": {
                    "source": "app.conf",
                    "line": 1,
                    "column": 19
                  },
                  "written": "1"
                },
                {
                  "role": "overridden",
                  "origin": {
                    "source": "app.conf",
                    "line": 1,
                    "column": 5
                  },
                  "written": "${base}"
                },
                {
                  "role": "overridden",
                  "origin": {
                    "source": "base.conf",
                    "line": 2,
                    "column": 9
                  },
                  "written": "7"
                }
              ]
            }
          ],
          "total": 1
        }
    "#]],
    );
}
