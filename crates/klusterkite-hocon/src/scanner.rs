use std::borrow::Cow;

use crate::error::Error;
use crate::origin::Origin;
use crate::path::{Path, PathBuilder};

/// One token of a text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token<'t> {
    End,
    Newline,
    Comma,
    Colon,
    Equals,
    PlusEquals,
    OpenBrace,
    CloseBrace,
    OpenBracket,
    CloseBracket,
    /// Whitespace within a line.
    Space(&'t str),
    /// A comment up to, and without, the end of its line.
    Comment,
    True,
    False,
    Null,
    /// A number, as written.
    Number(&'t str),
    /// Unquoted text.
    Text(&'t str),
    /// The content of a quoted string.
    Quoted(Cow<'t, str>),
    Reference(Reference),
}

/// A substitution as written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reference {
    pub(crate) path: Path,
    pub(crate) optional: bool,
    /// Whether it asks for a list (`${name[]}`).
    pub(crate) list: bool,
}

impl Token<'_> {
    /// Tells whether it is a scalar, which whitespace and further scalars may extend.
    pub(crate) fn is_simple(&self) -> bool {
        matches!(
            self,
            Self::True
                | Self::False
                | Self::Null
                | Self::Number(_)
                | Self::Text(_)
                | Self::Quoted(_)
        )
    }

    /// Tells whether nothing after it can belong to the same value.
    pub(crate) fn ends_value(&self) -> bool {
        matches!(
            self,
            Self::End
                | Self::Newline
                | Self::Comment
                | Self::Comma
                | Self::CloseBrace
                | Self::CloseBracket
        )
    }

    /// Returns the text of a simple token.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::True => "true",
            Self::False => "false",
            Self::Null => "null",
            Self::Number(text) | Self::Text(text) | Self::Space(text) => text,
            Self::Quoted(text) => text,
            _ => "",
        }
    }

    /// Names the token for an error.
    pub(crate) fn describe(&self) -> String {
        let name = match self {
            Self::End => "the end of the text",
            Self::Newline => "the end of the line",
            Self::Comma => "`,`",
            Self::Colon => "`:`",
            Self::Equals => "`=`",
            Self::PlusEquals => "`+=`",
            Self::OpenBrace => "`{`",
            Self::CloseBrace => "`}`",
            Self::OpenBracket => "`[`",
            Self::CloseBracket => "`]`",
            Self::Space(_) => "whitespace",
            Self::Comment => "a comment",
            Self::Reference(reference) => return format!("`${{{}}}`", reference.path),
            simple => return format!("`{}`", shortened(simple.text())),
        };
        name.to_owned()
    }
}

/// Cuts a text that is quoted in an error to a readable length.
fn shortened(text: &str) -> String {
    const SHOWN_CHARS: usize = 40;
    let line = text.lines().next().unwrap_or_default();
    let mut shown: String = line.chars().take(SHOWN_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// A place in the text that is being scanned. Most places are forgotten soon; the others become an
/// [`Origin`], which costs more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    line: u32,
    column: u32,
}

impl Place {
    pub(crate) const START: Self = Self { line: 1, column: 1 };
}

/// Cuts a text into tokens.
pub(crate) struct Scanner<'t> {
    text: &'t str,
    position: usize,
    origin: Origin,
    /// Whether only strict JSON is accepted.
    json: bool,
    line: u32,
    /// A position in the current line whose column is known; columns are counted from there on
    /// demand, so that a text of one long line is not scanned again and again.
    known_position: usize,
    known_column: u32,
}

/// Characters that unquoted text cannot contain.
const RESERVED: &str = "$\"{}[]:=,+#`^?!@*&\\";

impl<'t> Scanner<'t> {
    pub(crate) fn hocon(text: &'t str, origin: &Origin) -> Self {
        Self::new(text, origin, false)
    }

    pub(crate) fn json(text: &'t str, origin: &Origin) -> Self {
        // RFC 8259 section 8.1 lets a parser ignore a byte order mark.
        Self::new(text.strip_prefix('\u{feff}').unwrap_or(text), origin, true)
    }

    fn new(text: &'t str, origin: &Origin, json: bool) -> Self {
        Self {
            text,
            position: 0,
            origin: origin.clone(),
            json,
            line: 1,
            known_position: 0,
            known_column: 1,
        }
    }

    /// Returns the place of the next token.
    pub(crate) fn here(&mut self) -> Place {
        let passed = &self.text.as_bytes()[self.known_position..self.position];
        // Every byte starts a character, apart from the continuation bytes of UTF-8.
        let characters = passed.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        self.known_column += characters as u32;
        self.known_position = self.position;
        Place {
            line: self.line,
            column: self.known_column,
        }
    }

    /// Returns a place as what is kept.
    pub(crate) fn origin(&self, place: Place) -> Origin {
        self.origin.at(place.line, place.column)
    }

    /// Returns a syntax error at a place.
    pub(crate) fn error_at(origin: Origin, problem: impl Into<String>) -> Error {
        Error::Syntax {
            origin,
            problem: problem.into(),
        }
    }

    fn error(&mut self, problem: impl Into<String>) -> Error {
        let here = self.here();
        Self::error_at(self.origin(here), problem)
    }

    fn rest(&self) -> &'t str {
        &self.text[self.position..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn start_line(&mut self) {
        self.line += 1;
        self.known_position = self.position;
        self.known_column = 1;
    }

    /// Takes the longest run of characters that satisfy the test.
    fn take_while(&mut self, test: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let length = rest.find(|c| !test(c)).unwrap_or(rest.len());
        self.position += length;
        &rest[..length]
    }

    pub(crate) fn next_token(&mut self) -> Result<Token<'t>, Error> {
        let Some(first) = self.peek() else {
            return Ok(Token::End);
        };
        if self.is_space(first) {
            let json = self.json;
            return Ok(Token::Space(self.take_while(|c| {
                if json { is_json_space(c) } else { is_space(c) }
            })));
        }
        let punctuation = match first {
            '\n' => Token::Newline,
            ',' => Token::Comma,
            ':' => Token::Colon,
            '=' => Token::Equals,
            '{' => Token::OpenBrace,
            '}' => Token::CloseBrace,
            '[' => Token::OpenBracket,
            ']' => Token::CloseBracket,
            '"' => return self.quoted(),
            '$' => return self.reference(),
            '+' => return self.plus_equals(),
            '0'..='9' | '-' => return self.number(),
            _ => return self.text_or_comment(first),
        };
        self.position += 1;
        if punctuation == Token::Newline {
            self.start_line();
        }
        Ok(punctuation)
    }

    fn is_space(&self, c: char) -> bool {
        if self.json {
            is_json_space(c)
        } else {
            is_space(c)
        }
    }

    fn plus_equals(&mut self) -> Result<Token<'t>, Error> {
        if self.rest().starts_with("+=") {
            self.position += 2;
            return Ok(Token::PlusEquals);
        }
        Err(self.reserved('+'))
    }

    fn reserved(&mut self, c: char) -> Error {
        self.error(format!("`{c}` is reserved; put the text in double quotes"))
    }

    /// Scans a number, or unquoted text that starts like one.
    fn number(&mut self) -> Result<Token<'t>, Error> {
        let start = self.position;
        let text = self.take_while(|c| matches!(c, '0'..='9' | 'e' | 'E' | '+' | '-' | '.'));
        let is_number = if self.json { is_json_number } else { is_number };
        if is_number(text) {
            return Ok(Token::Number(text));
        }
        if let Some(plus) = text.find('+') {
            self.position = start + plus;
            return Err(self.reserved('+'));
        }
        Ok(Token::Text(text))
    }

    fn text_or_comment(&mut self, first: char) -> Result<Token<'t>, Error> {
        let rest = self.rest();
        if first == '#' || rest.starts_with("//") {
            self.take_while(|c| c != '\n');
            return Ok(Token::Comment);
        }
        if RESERVED.contains(first) {
            return Err(self.reserved(first));
        }
        // Literals are tokens of their own whatever follows; `trueish` is joined again by the parser.
        let literal = match first {
            't' => ("true", Token::True),
            'f' => ("false", Token::False),
            _ => ("null", Token::Null),
        };
        if rest.starts_with(literal.0) {
            self.position += literal.0.len();
            return Ok(literal.1);
        }
        // The first character is none that could end it, apart from whitespace that is none in JSON.
        let start = first.len_utf8();
        let length = start + unquoted_length(&rest[start..]);
        self.position += length;
        Ok(Token::Text(&rest[..length]))
    }

    fn quoted(&mut self) -> Result<Token<'t>, Error> {
        if !self.json && self.rest().starts_with("\"\"\"") {
            return self.triple_quoted();
        }
        let start = self.here();
        self.position += 1;
        let plain = self.take_plain();
        if self.peek() == Some('"') {
            self.position += 1;
            return Ok(Token::Quoted(Cow::Borrowed(plain)));
        }
        let mut content = plain.to_owned();
        loop {
            match self.peek() {
                Some('"') => break,
                Some('\\') => content.push(self.escape()?),
                Some('\n') | None => {
                    let start = self.origin(start);
                    return Err(Self::error_at(start, "the string has no closing `\"`"));
                }
                Some(c) if c.is_ascii_control() && c != '\u{7f}' => {
                    let code = c as u32;
                    return Err(self.error(format!(
                        "control character U+{code:04X} in a string; write it as `\\u{code:04x}`"
                    )));
                }
                Some(c) => {
                    content.push(c);
                    self.position += c.len_utf8();
                }
            }
            content.push_str(self.take_plain());
        }
        self.position += 1;
        Ok(Token::Quoted(Cow::Owned(content)))
    }

    /// Takes what needs no second look inside of quotes.
    fn take_plain(&mut self) -> &'t str {
        let rest = self.rest();
        let special = |byte: u8| matches!(byte, b'"' | b'\\') || byte.is_ascii_control();
        let length = rest.bytes().position(special).unwrap_or(rest.len());
        self.position += length;
        &rest[..length]
    }

    fn escape(&mut self) -> Result<char, Error> {
        let escaped = self.rest()[1..].chars().next();
        let c = match escaped {
            Some(c @ ('"' | '\\' | '/')) => c,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => return self.unicode_escape(),
            Some(other) => {
                return Err(self.error(format!(
                    "`\\{}` is no escape; write `\\\\` for a backslash",
                    other.escape_default()
                )));
            }
            None => return Err(self.error("the string ends after a backslash")),
        };
        self.position += 2;
        Ok(c)
    }

    /// Decodes `\uXXXX`, or two of them that form a surrogate pair.
    fn unicode_escape(&mut self) -> Result<char, Error> {
        let Some(first) = hex_unit(self.rest()) else {
            return Err(self.error("`\\u` needs four hexadecimal digits"));
        };
        if let Some(c) = char::from_u32(first) {
            self.position += 6;
            return Ok(c);
        }
        let pair = hex_unit(&self.rest()[6..]).and_then(|second| {
            let units = [first as u16, second as u16];
            char::decode_utf16(units).next()?.ok()
        });
        let Some(c) = pair else {
            return Err(self.error(format!(
                "`\\u{first:04x}` is half of a surrogate pair, no character"
            )));
        };
        self.position += 12;
        Ok(c)
    }

    fn triple_quoted(&mut self) -> Result<Token<'t>, Error> {
        let start = self.here();
        self.position += 3;
        let rest = self.rest();
        let Some(end) = rest.find("\"\"\"") else {
            let start = self.origin(start);
            return Err(Self::error_at(start, "the string has no closing `\"\"\"`"));
        };
        // Quotes beyond the closing three belong to the content.
        let extra = rest[end + 3..].bytes().take_while(|b| *b == b'"').count();
        let content = &rest[..end + extra];
        let lines = content.bytes().filter(|b| *b == b'\n').count();
        if let Some(last_newline) = content.rfind('\n') {
            self.line += lines as u32;
            self.known_position = self.position + last_newline + 1;
            self.known_column = 1;
        }
        self.position += content.len() + 3;
        Ok(Token::Quoted(Cow::Borrowed(content)))
    }

    /// Scans `${path}`, `${?path}` and `${path[]}`.
    fn reference(&mut self) -> Result<Token<'t>, Error> {
        let place = self.here();
        if !self.rest().starts_with("${") {
            return Err(self.error("`$` is reserved; a substitution is written `${path}`"));
        }
        self.position += 2;
        let optional = self.rest().starts_with('?');
        if optional {
            self.position += 1;
        }
        let start = self.position;
        let mut builder = PathBuilder::default();
        let mut problem = None;
        let mut brackets = String::new();
        let end = loop {
            let end = self.position;
            let token = match self.peek() {
                // Substitutions cannot nest; what is inside is only skipped.
                Some('$') => {
                    self.position += if self.rest().starts_with("${") { 2 } else { 1 };
                    problem.get_or_insert_with(|| "substitutions cannot nest".to_owned());
                    continue;
                }
                _ => self.next_token()?,
            };
            match token {
                Token::CloseBrace => break end,
                Token::End => {
                    return Err(Self::error_at(
                        self.origin(place),
                        "the substitution has no closing `}`",
                    ));
                }
                Token::OpenBracket => brackets.push('['),
                Token::CloseBracket => brackets.push(']'),
                Token::Space(_) if !brackets.is_empty() => {}
                token => {
                    if !brackets.is_empty() || !builder.push(&token) {
                        problem.get_or_insert_with(|| {
                            format!("{} is not allowed here", token.describe())
                        });
                    }
                }
            }
        };
        if !brackets.is_empty() && brackets != "[]" {
            problem.get_or_insert_with(|| "brackets may only be a final `[]`".to_owned());
        }
        let keys = match problem {
            Some(problem) => Err(problem),
            None => builder.finish(),
        };
        match keys {
            Ok(keys) => Ok(Token::Reference(Reference {
                path: Path::from_keys(keys),
                optional,
                list: !brackets.is_empty(),
            })),
            Err(problem) => Err(Error::Path {
                origin: self.origin(place),
                path: shortened(self.text[start..end].trim()),
                problem,
            }),
        }
    }
}

/// Returns how much of the start of a text is unquoted text, in bytes.
fn unquoted_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut length = 0;
    while let Some(&byte) = bytes.get(length) {
        if byte.is_ascii() {
            if ENDS_TEXT[byte as usize] || bytes[length..].starts_with(b"//") {
                break;
            }
            length += 1;
            continue;
        }
        match text[length..].chars().next() {
            Some(c) if !is_space(c) => length += c.len_utf8(),
            _ => break,
        }
    }
    length
}

/// The ASCII characters that end unquoted text: reserved ones, whitespace and the newline.
const ENDS_TEXT: [bool; 128] = {
    let mut ends = [false; 128];
    let mut index = 0;
    while index < RESERVED.len() {
        ends[RESERVED.as_bytes()[index] as usize] = true;
        index += 1;
    }
    let mut byte = 0;
    while byte < 128 {
        ends[byte] |= is_space(byte as u8 as char) || byte as u8 == b'\n';
        byte += 1;
    }
    ends
};

/// Reads the code unit of a `\uXXXX` at the start of the text.
fn hex_unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, 16).ok()
}

fn is_json_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r')
}

/// Tells whether a character is whitespace other than a newline: Unicode separators, the byte order
/// mark, and the ASCII controls that Java counts as whitespace, as the specification demands.
pub(crate) const fn is_space(c: char) -> bool {
    matches!(
        c,
        ' ' | '\t'
            | '\u{b}'..='\r'
            | '\u{1c}'..='\u{1f}'
            | '\u{a0}'
            | '\u{1680}'
            | '\u{2000}'..='\u{200a}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{202f}'
            | '\u{205f}'
            | '\u{3000}'
            | '\u{feff}'
    )
}

/// Tells whether a text counts as a number in HOCON: the reference implementation also reads `007` and
/// `5.` as numbers, and leaves whole numbers outside 64 bits strings.
pub(crate) fn is_number(text: &str) -> bool {
    if !text.contains(['.', 'e', 'E']) {
        return !text.starts_with('+') && text.parse::<i64>().is_ok();
    }
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let is_decimal = |b: u8| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
    // What starts so and parses is a decimal number: names of infinities start with letters.
    unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.bytes().all(is_decimal)
        && unsigned.parse::<f64>().is_ok()
}

/// Tells whether a text is a number of the JSON grammar (RFC 8259 section 6).
pub(crate) fn is_json_number(text: &str) -> bool {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut rest = text.strip_prefix('-').unwrap_or(text);
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest.starts_with('0')) {
        return false;
    }
    rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix('.') {
        let length = digits(fraction);
        if length == 0 {
            return false;
        }
        rest = &fraction[length..];
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let length = digits(exponent);
        return length > 0 && length == exponent.len();
    }
    rest.is_empty()
}
