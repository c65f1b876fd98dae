//! Fetching one package: resume, retry, the next feed, verify.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use klusterkite_nuget::{Sha512Hash, Sha512Hasher};
use rustix::rand::{GetRandomFlags, getrandom};
use ureq::Body;
use ureq::http::Response;
use ureq::http::header::CONTENT_RANGE;

use crate::Error;
use crate::feed::{Feed, Feeds, RETRY_PAUSE_MAX};
use crate::job::{Job, wrong_hash};
use crate::wanted::Wanted;

/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 << 10;

/// Bytes that a feed has to bring within the time in which it has to bring one, and between two
/// failures for the first of them to be forgotten: otherwise a feed that drips would hold a node
/// for days.
const PROGRESS_BYTES_MIN: u64 = 4 << 10;

impl Job<'_> {
    /// Fetches one package to its partial file, which has the frozen hash then and whose name is
    /// still the partial one; `None` if somebody else has stored it meanwhile.
    pub(crate) fn fetch(&self, wanted: &Wanted, feeds: &Feeds<'_>) -> Result<Option<File>, Error> {
        let Some(partial) = self.store.claim(wanted, self.cancel)? else {
            return Ok(None);
        };
        let path = self.store.partial_path(wanted);
        let mut download = Download::resume(wanted, path, partial)?;
        self.advance(0, download.length);
        let counted = download.length;
        // All of it was fetched before, and the name was not changed.
        if download.length < wanted.size || download.hash() != wanted.hash {
            if download.length == wanted.size {
                download.restart()?;
                self.advance(counted, 0);
            }
            let fetched = self.fetch_from_any(feeds, &mut download);
            if fetched.is_err() {
                // What is left of it counts again when it is resumed.
                self.advance(download.length, 0);
            }
            fetched?;
        }
        Ok(Some(download.file))
    }

    /// Asks each feed in turn; when all have failed for reasons that pass, all of them again. A
    /// failure after progress counts as the first one.
    fn fetch_from_any(&self, feeds: &Feeds<'_>, download: &mut Download<'_>) -> Result<(), Error> {
        let limits = feeds.limits();
        let mut failures = 0;
        let mut furthest = download.length;
        loop {
            let (mut passing, mut lasting) = (None, None);
            for feed in feeds.in_turn() {
                self.cancel.check()?;
                match self.fetch_from(feed, download) {
                    Ok(()) => {
                        feeds.prefer(feed);
                        return Ok(());
                    }
                    Err(error) if !error.is_of_feed() => return Err(error),
                    Err(error) if error.is_transient() => passing = Some(error),
                    Err(error) => lasting = Some(error),
                }
            }
            let Some(error) = passing else {
                return Err(lasting.expect("there is a feed, and it has failed"));
            };
            if download.length >= furthest + PROGRESS_BYTES_MIN {
                furthest = download.length;
                failures = 0;
            }
            if failures >= limits.retries_max {
                return Err(error);
            }
            let pause = limits.retry_pause.saturating_mul(1 << failures.min(16));
            failures += 1;
            self.cancel.wait(jittered(pause.min(RETRY_PAUSE_MAX)));
        }
    }

    /// Fetches from one feed and compares the hash.
    fn fetch_from(&self, feed: &Feed<'_>, download: &mut Download<'_>) -> Result<(), Error> {
        let wanted = download.wanted;
        let url = feed.package_url(&wanted.id, &wanted.version)?;
        loop {
            self.fetch_rest(feed, &url, download)?;
            let hash = download.hash();
            if hash == wanted.hash {
                return Ok(());
            }
            // What another try or another feed gave may be of another content: once more, from
            // zero.
            let was_resumed = download.is_resumed;
            download.restart()?;
            self.advance(wanted.size, 0);
            if !was_resumed {
                return Err(wrong_hash(wanted, url, hash));
            }
        }
    }

    /// Appends what the partial file lacks.
    fn fetch_rest(
        &self,
        feed: &Feed<'_>,
        url: &str,
        download: &mut Download<'_>,
    ) -> Result<(), Error> {
        let wanted = download.wanted;
        let mut response = feed.get(url, download.length)?;
        match response.status().as_u16() {
            206 if range_start(&response) == Some(download.length) => download.is_resumed = true,
            200 => self.restart(download)?,
            404 | 410 => {
                return Err(Error::PackageMissing {
                    package: wanted.label(),
                    url: url.to_owned(),
                });
            }
            status => {
                // A range that the feed cannot serve: the next try asks for everything.
                self.restart(download)?;
                return Err(Error::FeedBusy {
                    url: url.to_owned(),
                    status,
                });
            }
        }
        if let Some(announced) = response.body().content_length()
            && download.length + announced != wanted.size
        {
            return Err(wrong_size(wanted, url, download.length + announced));
        }
        self.copy(response.body_mut(), url, feed.limits().idle, download)
    }

    fn restart(&self, download: &mut Download<'_>) -> Result<(), Error> {
        self.advance(download.length, 0);
        download.restart()
    }

    fn copy(
        &self,
        body: &mut Body,
        url: &str,
        window: Duration,
        download: &mut Download<'_>,
    ) -> Result<(), Error> {
        let wanted = download.wanted;
        let away = |source: io::Error| Error::FeedAway {
            url: url.to_owned(),
            source: Box::new(ureq::Error::Io(source)),
        };
        let mut reader = body.as_reader();
        let mut piece = vec![0; PIECE_BYTES];
        let mut window_start = (Instant::now(), download.length);
        loop {
            self.cancel.check()?;
            let count = match reader.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(away(error)),
            };
            let length = download.length + count as u64;
            if length > wanted.size {
                self.restart(download)?;
                return Err(wrong_size(wanted, url, length));
            }
            download.append(&piece[..count])?;
            self.advance(length - count as u64, length);
            let (since, from) = window_start;
            if since.elapsed() >= window && length < wanted.size {
                if length - from < PROGRESS_BYTES_MIN {
                    return Err(away(io::ErrorKind::TimedOut.into()));
                }
                window_start = (Instant::now(), length);
            }
        }
        if download.length < wanted.size {
            return Err(away(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }
}

/// A partial file, hashed as far as it is there.
struct Download<'a> {
    wanted: &'a Wanted,
    path: PathBuf,
    file: File,
    length: u64,
    hasher: Sha512Hasher,
    /// Whether the bytes are of more than one answer.
    is_resumed: bool,
}

impl<'a> Download<'a> {
    /// Goes on with what a former try has left, the only bytes that are read again.
    fn resume(wanted: &'a Wanted, path: PathBuf, file: File) -> Result<Self, Error> {
        let mut download = Self {
            wanted,
            path,
            file,
            length: 0,
            hasher: Sha512Hasher::new(),
            is_resumed: true,
        };
        let copied = io::copy(&mut &download.file, &mut download.hasher);
        download.length = copied.map_err(Error::file("read", &download.path))?;
        if download.length > wanted.size {
            download.restart()?;
        }
        Ok(download)
    }

    fn restart(&mut self) -> Result<(), Error> {
        self.length = 0;
        self.hasher = Sha512Hasher::new();
        self.is_resumed = false;
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(Error::file("write", &self.path))?;
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if let Err(error) = self.file.write_all(bytes) {
            if error.kind() == io::ErrorKind::StorageFull {
                // A full disk hurts everybody on it; the bytes can be fetched again.
                let _ = self.file.set_len(0);
            }
            return Err(Error::file("write", &self.path)(error));
        }
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn hash(&self) -> Sha512Hash {
        self.hasher.clone().finish()
    }
}

fn wrong_size(wanted: &Wanted, url: &str, got: u64) -> Error {
    Error::WrongSize {
        package: wanted.label(),
        place: url.to_owned(),
        expected: wanted.size,
        got,
    }
}

/// Reads `bytes <start>-<end>/<size>`.
fn range_start(response: &Response<Body>) -> Option<u64> {
    let text = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    text.strip_prefix("bytes ")?
        .split('-')
        .next()?
        .trim()
        .parse()
        .ok()
}

/// Returns a random time between half of `pause` and all of it, so that containers that failed
/// together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let mut bytes = [0; 2];
    // Without entropy (early boot) the pause is simply not random.
    let _ = getrandom(&mut bytes, GetRandomFlags::NONBLOCK);
    pause / 2 + pause.mul_f64(f64::from(u16::from_le_bytes(bytes)) / f64::from(u16::MAX) / 2.0)
}
