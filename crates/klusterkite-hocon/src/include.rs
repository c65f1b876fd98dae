use crate::origin::Origin;

/// Gives the parser the texts that `include` names.
///
/// The crate itself touches no file system: without a reader every `include` is an error, and a reader
/// decides what may be read at all.
pub trait IncludeReader {
    /// Reads a text, `None` if there is none of that name, or tells why it cannot be read.
    ///
    /// A missing text is silently skipped unless the `include` is `required(…)`.
    fn read(&self, request: &IncludeRequest<'_>) -> Result<Option<IncludedText>, String>;
}

/// What an `include` asks for.
#[derive(Debug, Clone)]
pub struct IncludeRequest<'a> {
    /// How the name is to be understood.
    pub kind: IncludeKind,
    /// The name; where the text left the extension out it was added.
    pub name: &'a str,
    /// Where the `include` stands; relative names are relative to its source.
    pub origin: &'a Origin,
}

/// How the name of an `include` is to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncludeKind {
    /// `include "name"`: relative to the including text.
    Relative,
    /// `include file("name")`: a path of the file system.
    File,
    /// `include classpath("name")`: something that comes with the program.
    ClassPath,
}

/// A text that an [`IncludeReader`] found.
#[derive(Debug, Clone)]
pub struct IncludedText {
    /// The text.
    pub text: String,
    /// Its unique description, mostly its full path; cycles are detected by it.
    pub source: String,
}
