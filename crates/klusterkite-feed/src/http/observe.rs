//! What the feed tells about itself: a line for every request, and counters.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::MatchedPath;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use klusterkite_wire::time::rfc3339;
use serde::Serialize;

use crate::access_log::AccessLog;

/// The upper ends of the histogram's buckets, in seconds: from a document in memory to a large
/// package over a slow link.
const BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0,
];

/// The longest path in a line, in bytes; what a client sends is not trusted.
const PATH_BYTES_MAX: usize = 512;

/// Which route answered, and with which key: the answer carries it from where it is known.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) route: Option<RouteName>,
    pub(super) key: Option<Arc<str>>,
}

/// The name of a route in the counters.
#[derive(Clone)]
pub(super) enum RouteName {
    Matched(MatchedPath),
    Fixed(&'static str),
}

impl RouteName {
    fn as_str(&self) -> &str {
        match self {
            Self::Matched(path) => path.as_str(),
            Self::Fixed(name) => name,
        }
    }
}

/// Counts requests and writes their lines.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    routes: Mutex<BTreeMap<String, Route>>,
    log: Option<AccessLog>,
}

/// What is counted of a route.
#[derive(Debug, Default)]
struct Route {
    statuses: BTreeMap<u16, u64>,
    bytes: u64,
    /// How many took how long; beyond the last bucket in the last place.
    durations: [u64; BUCKETS.len() + 1],
    seconds: f64,
}

impl Observer {
    pub(crate) fn new(log: Option<AccessLog>) -> Self {
        Self {
            log,
            ..Self::default()
        }
    }

    fn routes(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Route>> {
        // Counters of a thread that panicked are still counters.
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, route: &str, status: StatusCode, bytes: u64, taken: Duration) {
        let mut routes = self.routes();
        if !routes.contains_key(route) {
            routes.insert(route.to_owned(), Route::default());
        }
        let route = routes.get_mut(route).expect("it was just put there");
        *route.statuses.entry(status.as_u16()).or_default() += 1;
        route.bytes += bytes;
        let seconds = taken.as_secs_f64();
        route.seconds += seconds;
        route.durations[BUCKETS.partition_point(|end| *end < seconds)] += 1;
    }

    /// Writes all counters as Prometheus reads them.
    pub(super) fn render(&self, text: &mut String) {
        let routes = self.routes();
        family(
            text,
            "klusterkite_feed_requests_total",
            "counter",
            "Requests by route and status.",
        );
        for (name, route) in &*routes {
            for (status, count) in &route.statuses {
                sample(
                    text,
                    "klusterkite_feed_requests_total",
                    &[("route", name), ("status", &status.to_string())],
                    *count as f64,
                );
            }
        }
        family(
            text,
            "klusterkite_feed_sent_bytes_total",
            "counter",
            "Bytes of answers, heads aside.",
        );
        for (name, route) in &*routes {
            sample(
                text,
                "klusterkite_feed_sent_bytes_total",
                &[("route", name)],
                route.bytes as f64,
            );
        }
        let name = "klusterkite_feed_request_duration_seconds";
        family(
            text,
            name,
            "histogram",
            "From the head of a request to the last byte of its answer.",
        );
        for (route_name, route) in &*routes {
            let mut count = 0;
            for (index, more) in route.durations.iter().enumerate() {
                count += more;
                let end = BUCKETS.get(index).map_or("+Inf".to_owned(), f64::to_string);
                sample(
                    text,
                    &format!("{name}_bucket"),
                    &[("route", route_name), ("le", &end)],
                    count as f64,
                );
            }
            sample(
                text,
                &format!("{name}_sum"),
                &[("route", route_name)],
                route.seconds,
            );
            sample(
                text,
                &format!("{name}_count"),
                &[("route", route_name)],
                count as f64,
            );
        }
        if let Some(log) = &self.log {
            let name = "klusterkite_feed_access_log_lost_total";
            family(
                text,
                name,
                "counter",
                "Lines that the access log could not take in time.",
            );
            sample(text, name, &[], log.lost() as f64);
        }
    }
}

/// Starts a family of samples.
pub(super) fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// Writes one sample. Labels are of this program: nothing in them has to be escaped but what a path
/// may have.
pub(super) fn sample(text: &mut String, name: &str, labels: &[(&str, &str)], value: f64) {
    text.push_str(name);
    for (index, (label, value)) in labels.iter().enumerate() {
        text.push(if index == 0 { '{' } else { ',' });
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        let _ = write!(text, "{label}=\"{value}\"");
    }
    if !labels.is_empty() {
        text.push('}');
    }
    let _ = writeln!(text, " {value}");
}

/// A request that is being answered; counted and written down when its answer is sent or given up.
pub(super) struct Observed {
    observer: Arc<Observer>,
    started: Instant,
    request: Option<Line>,
    served: Option<Served>,
    status: StatusCode,
    bytes: u64,
}

/// One line of the access log.
#[derive(Serialize)]
struct Line {
    time: String,
    client: IpAddr,
    method: String,
    path: String,
    status: u16,
    bytes: u64,
    milliseconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl Observed {
    /// Starts with a request; remembers of it what a line needs, if there is a log.
    pub(super) fn new(
        observer: &Arc<Observer>,
        client: IpAddr,
        method: &Method,
        path: &str,
    ) -> Self {
        let request = observer.log.as_ref().map(|_| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let mut end = path.len().min(PATH_BYTES_MAX);
            while !path.is_char_boundary(end) {
                end -= 1;
            }
            Line {
                time: rfc3339(now.unwrap_or_default().as_millis() as u64),
                client,
                method: method.to_string(),
                path: path[..end].to_owned(),
                status: 0,
                bytes: 0,
                milliseconds: 0.0,
                key: None,
            }
        });
        Self {
            observer: Arc::clone(observer),
            started: Instant::now(),
            request,
            served: None,
            // If the connection ends before there is an answer: as nginx writes it.
            status: StatusCode::from_u16(499).expect("it has three digits"),
            bytes: 0,
        }
    }

    /// Goes on with the answer.
    pub(super) fn answered(mut self, mut response: Response) -> Response {
        self.status = response.status();
        self.served = response.extensions_mut().remove();
        response.map(|body| {
            if body.is_end_stream() {
                return body;
            }
            Body::new(Watched {
                body,
                observed: self,
            })
        })
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        let taken = self.started.elapsed();
        let route = self
            .served
            .as_ref()
            .and_then(|served| served.route.as_ref());
        let route = route.map_or("other", RouteName::as_str);
        self.observer.count(route, self.status, self.bytes, taken);
        if let (Some(log), Some(mut line)) = (&self.observer.log, self.request.take()) {
            line.status = self.status.as_u16();
            line.bytes = self.bytes;
            line.milliseconds = (taken.as_secs_f64() * 1e6).round() / 1e3;
            let key = self
                .served
                .as_ref()
                .and_then(|served| served.key.as_deref());
            line.key = key.map(str::to_owned);
            let mut text = serde_json::to_vec(&line).expect("a line has only text keys");
            text.push(b'\n');
            log.write(text);
        }
    }
}

/// A body that counts what is taken of it.
struct Watched {
    body: Body,
    observed: Observed,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.observed.bytes += data.len() as u64;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_written_as_prometheus_reads_them() {
        let observer = Observer::default();
        observer.count("/a\"b", StatusCode::OK, 10, Duration::from_millis(3));
        observer.count("/a\"b", StatusCode::OK, 5, Duration::from_mins(1));
        let mut text = String::new();
        observer.render(&mut text);
        for line in [
            "klusterkite_feed_requests_total{route=\"/a\\\"b\",status=\"200\"} 2\n",
            "klusterkite_feed_sent_bytes_total{route=\"/a\\\"b\"} 15\n",
            "_bucket{route=\"/a\\\"b\",le=\"0.0025\"} 0\n",
            "_bucket{route=\"/a\\\"b\",le=\"0.005\"} 1\n",
            "_bucket{route=\"/a\\\"b\",le=\"30\"} 1\n",
            "_bucket{route=\"/a\\\"b\",le=\"+Inf\"} 2\n",
            "_count{route=\"/a\\\"b\"} 2\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
