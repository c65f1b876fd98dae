//! What is served: bytes in memory or in a file with the headers that go with them, and the
//! documents that were served lately.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, IF_NONE_MATCH, IF_RANGE, RANGE, VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use hyper::body::{Frame, SizeHint};
use klusterkite_nuget::Sha512Hash;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::cache::Cache;
use crate::serve::{FILLER, FilePart, Outgoing};

/// The bytes of a file that are in memory at once for a download whose connection cannot send files
/// by itself.
const CHUNK_BYTES: usize = 256 << 10;

/// Documents below this size are not compressed: they fit into a packet or two as they are.
const GZIP_BYTES_MIN: usize = 1 << 10;

/// What a file weighs in the cache: an open file costs no memory but one of the descriptors of this
/// process, and 64 of them are enough for the packages that everybody fetches.
const FILE_WEIGHT: usize = CACHE_BYTES / 64;

/// What a document weighs beside its bytes: its key and headers.
const DOCUMENT_WEIGHT: usize = 512;

/// Memory for documents that were served lately.
const CACHE_BYTES: usize = 12 << 20;

/// Bytes with the headers that go with them.
#[derive(Debug)]
pub(super) struct Document {
    content: Content,
    content_type: &'static str,
    cache_control: &'static str,
    /// A strong tag of the content, in quotes.
    tag: Option<String>,
    /// Compressed on first demand; `None` for what is compressed already.
    gzip: Option<OnceLock<Bytes>>,
}

#[derive(Debug)]
enum Content {
    Memory(Bytes),
    File { file: Arc<File>, size: u64 },
}

impl Document {
    /// Makes a JSON document that clients must ask for again: a pushed version is to be seen at
    /// once.
    pub(super) fn json<T: Serialize>(value: &T) -> Self {
        let body = serde_json::to_vec(value).expect("documents have only text keys");
        Self::text("application/json", body)
    }

    /// Makes a text that clients must ask for again.
    pub(super) fn text(content_type: &'static str, body: Vec<u8>) -> Self {
        Self {
            content: Content::Memory(Bytes::from(body)),
            content_type,
            cache_control: "no-cache",
            tag: None,
            gzip: Some(OnceLock::new()),
        }
    }

    /// Adds a tag by which clients see that their copy is still right.
    pub(super) fn with_tag(mut self) -> Self {
        if let Content::Memory(body) = &self.content {
            let digest = Sha256::digest(body);
            let half = digest[..16].try_into().expect("the digest has 32 bytes");
            self.tag = Some(format!("\"{:032x}\"", u128::from_be_bytes(half)));
        }
        self
    }

    /// Makes a file that never changes, so its hash is its tag for ever.
    pub(super) fn file(file: File, size: u64, hash: &Sha512Hash) -> Self {
        let file = Arc::new(file);
        Self::immutable(Content::File { file, size }, hash)
    }

    /// Makes bytes that never change.
    pub(super) fn bytes(bytes: Vec<u8>, hash: &Sha512Hash) -> Self {
        Self::immutable(Content::Memory(bytes.into()), hash)
    }

    fn immutable(content: Content, hash: &Sha512Hash) -> Self {
        Self {
            content,
            content_type: "application/octet-stream",
            cache_control: "private, max-age=31536000, immutable",
            tag: Some(format!("\"{}\"", hash.hex())),
            gzip: None,
        }
    }

    fn size(&self) -> u64 {
        match &self.content {
            Content::Memory(bytes) => bytes.len() as u64,
            Content::File { size, .. } => *size,
        }
    }

    fn weight(&self) -> usize {
        DOCUMENT_WEIGHT
            + match &self.content {
                // With room for the compressed copy.
                Content::Memory(bytes) if self.gzip.is_some() => bytes.len() * 3 / 2,
                Content::Memory(bytes) => bytes.len(),
                Content::File { .. } => FILE_WEIGHT,
            }
    }

    /// Answers a request for the document: whole, a part of it, or that the client has it already.
    pub(super) fn answer(&self, asked: &HeaderMap, outgoing: Option<&Outgoing>) -> Response {
        let header = |name| asked.get(name).and_then(|value| value.to_str().ok());
        let compressed = self.compressed(header(ACCEPT_ENCODING));
        let tag = self.tag.as_ref().map(|tag| match compressed {
            // Other bytes need another tag.
            Some(_) => format!("{}-gzip\"", tag.trim_end_matches('"')),
            None => tag.clone(),
        });
        let is_known = |tag: &String| {
            header(IF_NONE_MATCH).is_some_and(|tags| {
                let mut tags = tags.split(',').map(str::trim);
                tags.any(|known| known.trim_start_matches("W/") == tag || known == "*")
            })
        };
        let size = self.size();
        let is_plain = compressed.is_none() && self.gzip.is_none();
        let (status, range) = if tag.as_ref().is_some_and(is_known) {
            (StatusCode::NOT_MODIFIED, None)
        } else {
            let range = header(RANGE).filter(|_| {
                is_plain && header(IF_RANGE).is_none_or(|known| Some(known) == tag.as_deref())
            });
            match range.map_or(Range::Whole, |range| parse_range(range, size)) {
                Range::Whole => (StatusCode::OK, None),
                Range::Beyond => {
                    let range = [(CONTENT_RANGE, format!("bytes */{size}"))];
                    return (StatusCode::RANGE_NOT_SATISFIABLE, range).into_response();
                }
                Range::Part { start, length } => {
                    (StatusCode::PARTIAL_CONTENT, Some((start, length)))
                }
            }
        };
        let body = match (status, compressed) {
            (StatusCode::NOT_MODIFIED, _) => Body::empty(),
            (_, Some(compressed)) => Body::from(compressed.clone()),
            _ => {
                let (start, length) = range.unwrap_or((0, size));
                self.part(start, length, outgoing)
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let fixed = HeaderValue::from_static;
        headers.insert(CONTENT_TYPE, fixed(self.content_type));
        headers.insert(CACHE_CONTROL, fixed(self.cache_control));
        if let Some(tag) = tag {
            headers.insert(ETAG, visible(tag));
        }
        if self.gzip.is_some() {
            headers.insert(VARY, fixed("Accept-Encoding"));
        } else {
            headers.insert(ACCEPT_RANGES, fixed("bytes"));
        }
        if compressed.is_some() {
            headers.insert(CONTENT_ENCODING, fixed("gzip"));
        }
        if let Some((start, length)) = range {
            let last = start + length - 1;
            headers.insert(
                CONTENT_RANGE,
                visible(format!("bytes {start}-{last}/{size}")),
            );
        }
        response
    }

    /// Returns the compressed content if the client takes it and it pays.
    fn compressed(&self, accepted: Option<&str>) -> Option<&Bytes> {
        let (Content::Memory(body), Some(gzip)) = (&self.content, &self.gzip) else {
            return None;
        };
        if body.len() < GZIP_BYTES_MIN || !accepts_gzip(accepted?) {
            return None;
        }
        Some(gzip.get_or_init(|| {
            // The fastest level: most documents are sent a few times before they change.
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            let written = encoder.write_all(body).and_then(|()| encoder.finish());
            Bytes::from(written.expect("memory takes every write"))
        }))
    }

    fn part(&self, start: u64, length: u64, outgoing: Option<&Outgoing>) -> Body {
        match (&self.content, outgoing) {
            (Content::Memory(bytes), _) => {
                let start = usize::try_from(start).expect("a part lies within the bytes");
                let length = usize::try_from(length).expect("a part lies within the bytes");
                Body::from(bytes.slice(start..start + length))
            }
            (Content::File { file, .. }, Some(outgoing)) => Body::new(SentFile {
                announced: Some(FilePart {
                    file: Arc::clone(file),
                    offset: start,
                    length,
                }),
                left: length,
                outgoing: outgoing.clone(),
            }),
            (Content::File { file, .. }, None) => read_file(Arc::clone(file), start, length),
        }
    }
}

fn visible(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("hexadecimal digits and numbers are a valid header")
}

/// Tells whether a client takes gzip (RFC 9110, 12.5.3).
fn accepts_gzip(accepted: &str) -> bool {
    accepted.split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let is_refused = weight
            .trim()
            .strip_prefix("q=")
            .is_some_and(|weight| weight.trim().parse().is_ok_and(|weight: f32| weight <= 0.0));
        ["gzip", "x-gzip"]
            .iter()
            .any(|known| name.trim().eq_ignore_ascii_case(known))
            && !is_refused
    })
}

/// A part of a file that the connection sends by itself: it is announced, and filler stands for it.
struct SentFile {
    announced: Option<FilePart>,
    left: u64,
    outgoing: Outgoing,
}

impl HttpBody for SentFile {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        // Now, not before: the answer to HEAD has a body that nobody asks for.
        if let Some(part) = self.announced.take() {
            self.outgoing.add(part);
        }
        let length = self.left.min(FILLER.len() as u64);
        self.left -= length;
        Poll::Ready(Some(Ok(Frame::data(FILLER.slice(..length as usize)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Reads a part of a file in chunks; a shorter file breaks the connection, so that the client sees
/// it.
fn read_file(file: Arc<File>, start: u64, length: u64) -> Body {
    let end = start + length;
    let chunks = stream::try_unfold((file, start), move |(file, at)| async move {
        if at == end {
            return Ok(None);
        }
        let read = tokio::task::spawn_blocking(move || {
            let mut chunk = vec![0; (end - at).min(CHUNK_BYTES as u64) as usize];
            file.read_exact_at(&mut chunk, at)?;
            Ok::<_, std::io::Error>((chunk, file))
        });
        let (chunk, file) = read.await.map_err(std::io::Error::other)??;
        let next = at + chunk.len() as u64;
        Ok::<_, std::io::Error>(Some((Bytes::from(chunk), (file, next))))
    });
    Body::new(Sized {
        body: Body::from_stream(chunks),
        left: length,
    })
}

/// A body whose length is known before it is read.
struct Sized {
    body: Body,
    left: u64,
}

impl HttpBody for Sized {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            self.left -= frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    /// Everything; also for ranges that this feed does not serve in parts.
    Whole,
    Part {
        start: u64,
        length: u64,
    },
    Beyond,
}

/// Reads a single range (RFC 9110, 14.1.2); several at once are answered with everything.
fn parse_range(text: &str, size: u64) -> Range {
    let Some((first, last)) = text
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
    else {
        return Range::Whole;
    };
    let number = |text: &str| text.trim().parse::<u64>();
    match (number(first), number(last)) {
        (Ok(first), _) if first >= size => Range::Beyond,
        (Ok(first), Ok(last)) if last >= first => Range::Part {
            start: first,
            length: last.min(size - 1) - first + 1,
        },
        (Ok(first), Err(_)) if last.trim().is_empty() => Range::Part {
            start: first,
            length: size - first,
        },
        (Err(_), Ok(0)) if first.trim().is_empty() => Range::Beyond,
        (Err(_), Ok(count)) if first.trim().is_empty() && size > 0 => {
            let length = count.min(size);
            Range::Part {
                start: size - length,
                length,
            }
        }
        _ => Range::Whole,
    }
}

/// The documents that were served lately, all of the same state of the index: they are forgotten
/// with its next change.
#[derive(Debug)]
pub(crate) struct Documents(Mutex<Lately>);

#[derive(Debug)]
struct Lately {
    generation: u64,
    cache: Cache<Box<str>, Arc<Document>>,
}

impl Default for Documents {
    fn default() -> Self {
        Self(Mutex::new(Lately {
            generation: 0,
            cache: Cache::new(CACHE_BYTES),
        }))
    }
}

impl Documents {
    /// Returns a document that is still right in this generation of the index.
    pub(super) fn get(&self, key: &str, generation: u64) -> Option<Arc<Document>> {
        let mut lately = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lately.advance(generation);
        lately.cache.get(key)
    }

    /// Forgets what was made from earlier generations of the index.
    pub(crate) fn forget_before(&self, generation: u64) {
        let mut lately = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lately.advance(generation);
    }

    /// Keeps a document that was made from a generation of the index.
    pub(super) fn put(&self, place: Place, document: &Arc<Document>) {
        let mut lately = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lately.advance(place.generation);
        if lately.generation == place.generation {
            let weight = document.weight() + place.key.len();
            lately.cache.put(place.key, Arc::clone(document), weight);
        }
    }
}

impl Lately {
    /// Forgets everything if the index has changed; generations only grow.
    fn advance(&mut self, generation: u64) {
        if self.generation < generation {
            self.generation = generation;
            self.cache.clear();
        }
    }
}

/// Where a document is to be kept that is made now.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) key: Box<str>,
    /// The index's generation before the document was made.
    pub(super) generation: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_http_defines_them() {
        let part = |start, length| Range::Part { start, length };
        for (text, size, range) in [
            ("bytes=0-9", 100, part(0, 10)),
            ("bytes=90-", 100, part(90, 10)),
            ("bytes=90-1000", 100, part(90, 10)),
            ("bytes=-10", 100, part(90, 10)),
            ("bytes=-1000", 100, part(0, 100)),
            ("bytes=100-", 100, Range::Beyond),
            ("bytes=-0", 100, Range::Beyond),
            ("bytes=0-", 0, Range::Beyond),
            ("bytes=-5", 0, Range::Whole),
            ("bytes=5-2", 100, Range::Whole),
            ("bytes=0-1,5-6", 100, Range::Whole),
            ("lines=0-1", 100, Range::Whole),
            ("bytes=a-b", 100, Range::Whole),
        ] {
            assert_eq!(parse_range(text, size), range, "{text}");
        }
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        for (accepted, expected) in [
            ("gzip", true),
            ("deflate, gzip", true),
            ("GZip;q=0.5, *;q=0", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0", false),
            ("identity", false),
            ("", false),
        ] {
            assert_eq!(accepts_gzip(accepted), expected, "{accepted}");
        }
    }

    #[test]
    fn a_document_is_forgotten_with_the_next_change_of_the_index() {
        let documents = Documents::default();
        let place = |generation| Place {
            key: "/a".into(),
            generation,
        };
        let document = Arc::new(Document::json(&1));
        documents.put(place(5), &document);
        assert!(documents.get("/a", 5).is_some());
        assert!(documents.get("/a", 6).is_none());
        // Made before the change, finished after it.
        documents.put(place(5), &document);
        assert!(documents.get("/a", 6).is_none());
    }
}
