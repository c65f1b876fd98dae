//! Fetching one package: resume, retry, verify.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::rand::{GetRandomFlags, getrandom};
use ureq::Body;
use ureq::http::Response;
use ureq::http::header::CONTENT_RANGE;

use super::{FetchProgress, Job, Wanted, verify};
use crate::Error;
use crate::feed::RETRY_PAUSE_MAX;

/// Bytes that are read at once.
const PIECE_BYTES: usize = 32 << 10;

impl Job<'_> {
    /// Fetches one package into the store.
    pub(super) fn fetch(&self, wanted: &Wanted) -> Result<(), Error> {
        let Some(mut partial) = self.store.claim(wanted, self.cancel)? else {
            self.advance(wanted.size);
            return Ok(());
        };
        let path = self.store.partial_path(wanted);
        let url = self.retry(|| self.feed.package_url(&wanted.id, &wanted.version), || 0)?;

        // What a former try left may be of another content; then one more try from zero is due.
        let mut resumed = length(&partial) > 0;
        loop {
            let read_length = partial.try_clone().map_err(Error::file("open", &path))?;
            self.retry(
                || self.fetch_rest(wanted, &url, &mut partial),
                || length(&read_length),
            )?;
            match verify(&mut partial, wanted, &path, &url) {
                Ok(()) => break,
                Err(error) => {
                    partial.set_len(0).map_err(Error::file("write", &path))?;
                    self.bytes.fetch_sub(wanted.size, Ordering::Relaxed);
                    if !resumed {
                        return Err(error);
                    }
                    resumed = false;
                }
            }
        }
        partial.sync_all().map_err(Error::file("sync", &path))?;
        let stored = self.store.path(wanted);
        fs::rename(&path, &stored).map_err(Error::file("write", &stored))
    }

    /// Repeats what fails for reasons that pass; a failure after progress counts as the first one.
    fn retry<T>(
        &self,
        mut attempt: impl FnMut() -> Result<T, Error>,
        progress: impl Fn() -> u64,
    ) -> Result<T, Error> {
        let limits = self.feed.limits();
        let mut failures = 0;
        let mut furthest = progress();
        loop {
            self.cancel.check()?;
            let error = match attempt() {
                Err(error) if error.is_transient() => error,
                result => return result,
            };
            if progress() > furthest {
                furthest = progress();
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

    /// Appends what the partial file lacks.
    fn fetch_rest(&self, wanted: &Wanted, url: &str, partial: &mut File) -> Result<(), Error> {
        let path = self.store.partial_path(wanted);
        let mut start = length(partial);
        if start == wanted.size {
            self.advance(start);
            return Ok(());
        }
        if start > wanted.size {
            start = 0;
        }
        let mut response = self.feed.get(url, start)?;
        start = match response.status().as_u16() {
            206 if range_start(&response) == Some(start) => start,
            200 => 0,
            404 | 410 => {
                return Err(Error::PackageMissing {
                    package: wanted.label(),
                    url: url.to_owned(),
                });
            }
            status => {
                // A range that the feed cannot serve: the next try asks for everything.
                partial.set_len(0).map_err(Error::file("write", &path))?;
                return Err(Error::FeedBusy {
                    url: url.to_owned(),
                    status,
                });
            }
        };
        if let Some(announced) = response.body().content_length()
            && start + announced != wanted.size
        {
            return Err(wrong_size(wanted, url, start + announced));
        }

        partial
            .set_len(start)
            .map_err(Error::file("write", &path))?;
        partial
            .seek(SeekFrom::Start(start))
            .map_err(Error::file("write", &path))?;
        self.advance(start);
        let mut done = start;
        let result = self.copy(response.body_mut(), wanted, url, partial, &mut done);
        if result.is_err() {
            self.bytes.fetch_sub(done, Ordering::Relaxed);
        }
        result
    }

    fn copy(
        &self,
        body: &mut Body,
        wanted: &Wanted,
        url: &str,
        partial: &mut File,
        done: &mut u64,
    ) -> Result<(), Error> {
        let away = |source: io::Error| Error::FeedAway {
            url: url.to_owned(),
            source: Box::new(ureq::Error::Io(source)),
        };
        let path = self.store.partial_path(wanted);
        let mut reader = body.as_reader();
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            self.cancel.check()?;
            let count = match reader.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(away(error)),
            };
            if *done + count as u64 > wanted.size {
                partial.set_len(0).map_err(Error::file("write", &path))?;
                return Err(wrong_size(wanted, url, *done + count as u64));
            }
            if let Err(error) = partial.write_all(&piece[..count]) {
                if error.kind() == io::ErrorKind::StorageFull {
                    // A full disk hurts everybody on it; the bytes can be fetched again.
                    let _ = partial.set_len(0);
                }
                return Err(Error::file("write", &path)(error));
            }
            *done += count as u64;
            self.advance(count as u64);
        }
        if *done < wanted.size {
            return Err(away(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }

    fn advance(&self, bytes: u64) {
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (self.progress)(FetchProgress {
            bytes,
            total: self.total,
        });
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

fn length(file: &File) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.len())
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
