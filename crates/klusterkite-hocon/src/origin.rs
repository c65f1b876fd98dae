use std::fmt;
use std::sync::Arc;

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
