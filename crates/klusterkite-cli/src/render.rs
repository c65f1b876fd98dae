//! Answers as text for people: pure functions.

pub mod cluster;
pub mod config;
pub mod container;
pub mod events;
pub mod migration;
pub mod node;
pub mod package;
pub mod settings;

use std::fmt::Display;

use comfy_table::{ContentArrangement, Table, presets};
use klusterkite_core::reason::Waiting;
use serde::Serialize;

/// Stands where there is nothing.
const NONE: &str = "-";

/// Renders rows under a header, columns as wide as their content, so that `grep` and `awk` see one line per row.
pub fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    for row in rows {
        // What comes from a cluster may hold line ends; a row stays one line.
        table.add_row(row.map(|cell| one_line(&cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Renders names with values, the values in one column.
pub fn pairs<const N: usize>(pairs: [(&str, String); N]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in pairs {
        let line = format!("{name:width$}  {}", one_line(&value));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Renders what is waited for, one line each.
pub fn waits(waits: &[Waiting]) -> String {
    let lines = waits
        .iter()
        .map(|wait| format!("  {}: {}\n", wait.code, one_line(&wait.message)));
    lines.collect()
}

/// Returns an enum without fields as the API writes it.
pub fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => NONE.to_owned(),
    }
}

fn or_none(value: Option<impl Display>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| value.to_string())
}

fn joined<T: Display>(values: &[T]) -> String {
    if values.is_empty() {
        return NONE.to_owned();
    }
    values
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn yes_or_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

/// Replaces control characters: a name in the cluster cannot move the cursor of whoever looks at it.
fn one_line(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(visible).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_content_and_rows_are_single_lines() {
        let rows = [
            ["1".to_owned(), "a long name".to_owned(), String::new()],
            [
                "22".to_owned(),
                "two\nlines\u{1b}[31m".to_owned(),
                "x".to_owned(),
            ],
        ];
        expect![[r"
            ID  NAME            NOTE
            1   a long name
            22  two lines [31m  x
        "]]
        .assert_eq(&table(["ID", "NAME", "NOTE"], rows));
    }

    #[test]
    fn a_table_without_rows_has_a_header() {
        assert_eq!(table(["ID", "NAME"], []), "ID  NAME\n");
    }

    #[test]
    fn values_of_pairs_stand_in_one_column() {
        let text = pairs([("id", "7".to_owned()), ("template", "hello".to_owned())]);
        assert_eq!(text, "id        7\ntemplate  hello\n");
    }
}
