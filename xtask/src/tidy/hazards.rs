//! Documents name tests; a test that is renamed or deleted must not leave its name behind.

use std::collections::BTreeSet;

/// Returns what is wrong with a document (its name and text), given the text of all sources and the names of
/// scenarios, which are tests too.
///
/// Each row of a table ends with a cell that names at least one test in backticks.
pub(super) fn findings<'a>(
    (name_of_document, document): (&str, &str),
    sources: impl IntoIterator<Item = &'a str>,
    scenarios: impl IntoIterator<Item = &'a str>,
) -> Vec<String> {
    let mut tests: BTreeSet<&str> = sources.into_iter().flat_map(tests).collect();
    tests.extend(scenarios);
    let mut findings = Vec::new();
    let mut rows = 0;
    for (index, line) in document.lines().enumerate() {
        let Some(cell) = last_cell(line) else {
            continue;
        };
        rows += 1;
        let named: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        if named.is_empty() {
            findings.push(format!("{name_of_document}:{}: names no test", index + 1));
        }
        for name in named.iter().filter(|name| !tests.contains(*name)) {
            findings.push(format!(
                "{name_of_document}:{}: there is no test `{name}`",
                index + 1
            ));
        }
    }
    if rows == 0 {
        findings.push(format!("{name_of_document} has no table"));
    }
    findings
}

/// Returns the last cell of a row; heads and their rulers are no rows.
fn last_cell(line: &str) -> Option<&str> {
    let cells = line.strip_prefix('|')?.trim_end().strip_suffix('|')?;
    let last = cells.rsplit('|').next()?.trim();
    (last != "tests" && !last.starts_with("---")).then_some(last)
}

/// Names the functions with the attribute `test`, of any runtime.
fn tests(source: &str) -> impl Iterator<Item = &str> {
    let mut lines = source.lines();
    std::iter::from_fn(move || {
        loop {
            let attribute = lines.next()?.trim();
            if attribute != "#[test]" && !attribute.starts_with("#[tokio::test") {
                continue;
            }
            let function = lines.by_ref().find_map(|line| {
                let (_, rest) = line.split_once("fn ")?;
                rest.split_once('(').map(|(name, _)| name)
            })?;
            return Some(function);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::findings;

    #[test]
    fn every_row_has_to_name_tests_that_exist() {
        let sources = [
            "#[test]\nfn one() {}\nfn helper() {}\n",
            "#[tokio::test]\n#[expect(x)]\nasync fn two() {}\n",
        ];
        let document = "# Hazards\n| hazard | tests |\n|---|---|\n| a `b` | `one`, `two` |\n";
        let document_of = |text: &str| findings(("a.md", text), sources, ["b01-a"]);
        assert_eq!(document_of(document), [""; 0]);
        assert_eq!(
            document_of("| hazard | tests |\n|---|---|\n| a | `b01-a` |\n"),
            [""; 0]
        );
        for (row, expected) in [
            ("| a | `helper` |", "there is no test `helper`"),
            ("| a | `one` `three` |", "there is no test `three`"),
            ("| a `one` | none |", "names no test"),
        ] {
            let found = document_of(&format!("{document}{row}"));
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(
                found[0].contains(expected) && found[0].contains(":5:"),
                "{found:?}"
            );
        }
        assert_eq!(document_of("nothing").len(), 1);
    }
}
