use std::fmt;
use std::sync::Arc;

/// Longest part of a line in an excerpt, in characters: with the line number it fits a terminal.
const EXCERPT_CHARS_MAX: usize = 100;

/// Where a value was written.
#[derive(Clone, PartialEq, Eq)]
pub struct Origin {
    source: Arc<str>,
    line: u32,
    column: u32,
}

impl Origin {
    /// Describes a place of a text; lines and columns count from 1, a line of 0 means "somewhere in it".
    pub fn new(source: impl Into<Arc<str>>, line: u32, column: u32) -> Self {
        Self {
            source: source.into(),
            line,
            column,
        }
    }

    /// Returns the description that was given when the text was parsed, mostly a file name.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns the line, counted from 1, or `None` if the value comes from no line (the environment, JSON values).
    pub fn line(&self) -> Option<u32> {
        (self.line > 0).then_some(self.line)
    }

    /// Returns the column in characters, counted from 1, if it is known.
    pub fn column(&self) -> Option<u32> {
        (self.column > 0).then_some(self.column)
    }

    /// Returns the line of this place, from the text of its source, with a mark below the column.
    ///
    /// `None` if the place has no line, or the text has not that many. Control characters are shown as
    /// blanks; of a long line only the surroundings of the column are shown.
    pub fn excerpt(&self, text: &str) -> Option<String> {
        let line = self.line()?;
        let content = text.lines().nth(line as usize - 1)?;
        let marked = self.column.saturating_sub(1) as usize;
        let skipped = marked.saturating_sub(EXCERPT_CHARS_MAX / 2);
        let shown: String = content
            .chars()
            .skip(skipped)
            .take(EXCERPT_CHARS_MAX)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let number = line.to_string();
        let excerpt = format!("{number} | {}", shown.trim_end());
        if self.column == 0 {
            return Some(excerpt);
        }
        let margin = number.len();
        let indent = marked - skipped;
        Some(format!("{excerpt}\n{:margin$} | {:indent$}^", "", ""))
    }

    pub(crate) fn of_environment(variable: &str) -> Self {
        Self::new(format!("environment variable `{variable}`"), 0, 0)
    }

    pub(crate) fn at(&self, line: u32, column: u32) -> Self {
        Self {
            source: Arc::clone(&self.source),
            line,
            column,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
            if self.column > 0 {
                write!(f, ":{}", self.column)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
