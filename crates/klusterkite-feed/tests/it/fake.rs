//! An upstream that does what a test says, and counts.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::json;

/// What the upstream does when it is asked for a path.
#[derive(Clone)]
pub(crate) enum Does {
    Answer(Vec<u8>),
    /// Compressed, whatever the client accepts.
    AnswerPacked(Vec<u8>),
    Status(u16),
    Redirect(String),
    /// Says how much will come, sends a part, and then nothing more.
    Stall(Vec<u8>),
    /// Says how much will come, sends a part, and closes.
    BreakOff(Vec<u8>),
}

pub(crate) struct Fake {
    pub(crate) address: String,
    state: Arc<State>,
}

struct State {
    paths: Mutex<BTreeMap<String, Does>>,
    /// Each request: path and `Authorization`.
    requests: Mutex<Vec<(String, Option<String>)>>,
    is_over: AtomicBool,
}

impl Fake {
    /// Starts an upstream that has a service index and nothing else.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State {
            paths: Mutex::default(),
            requests: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let served = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if served.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let state = Arc::clone(&served);
                thread::spawn(move || serve(stream.unwrap(), &state));
            }
        });
        let fake = Self { address, state };
        let base = format!("http://{}", fake.address);
        fake.json(
            "/index.json",
            &json!({"version": "3.0.0", "resources": [
                {"@id": format!("{base}/flat/"), "@type": "PackageBaseAddress/3.0.0"},
                {"@id": format!("{base}/reg/"), "@type": "RegistrationsBaseUrl/3.6.0"},
                {"@id": format!("{base}/search"), "@type": "SearchQueryService/3.5.0"},
            ]}),
        );
        fake
    }

    /// The settings of a feed with this upstream; `members` are added to it.
    pub(crate) fn settings(&self, members: &str) -> String {
        format!(
            "upstream = [{{name = fake, url = \"http://{}/index.json\", {members}}}]\n",
            self.address
        )
    }

    pub(crate) fn on(&self, path: &str, does: Does) {
        self.state
            .paths
            .lock()
            .unwrap()
            .insert(path.to_owned(), does);
    }

    pub(crate) fn json(&self, path: &str, document: &serde_json::Value) {
        self.on(path, Does::Answer(serde_json::to_vec(document).unwrap()));
    }

    /// Has a package whose download does what is said.
    pub(crate) fn package(&self, id: &str, version: &str, does: Does) {
        let versions = json!({"versions": [version]});
        self.json(&format!("/flat/{id}/index.json"), &versions);
        self.on(&format!("/flat/{id}/{version}/{id}.{version}.nupkg"), does);
    }

    /// The requests so far whose path ends so.
    pub(crate) fn requests(&self, end: &str) -> Vec<(String, Option<String>)> {
        let requests = self.state.requests.lock().unwrap();
        let wanted = requests.iter().filter(|(path, _)| path.ends_with(end));
        wanted.cloned().collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(&self.address);
    }
}

fn serve(mut stream: TcpStream, state: &State) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(first)) = lines.next() else {
        return;
    };
    let mut authorization = None;
    for line in lines.by_ref() {
        let Ok(line) = line else { return };
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("authorization")
        {
            authorization = Some(value.to_owned());
        }
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    let path = path.split('?').next().unwrap().to_owned();
    let does = state.paths.lock().unwrap().get(&path).cloned();
    state.requests.lock().unwrap().push((path, authorization));
    let mut answer = |status: u16, headers: &str, length: usize, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        // The feed may have gone away, which some tests want.
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(body);
    };
    match does {
        None => answer(404, "", 0, b""),
        Some(Does::Status(status)) => answer(status, "", 0, b""),
        Some(Does::Redirect(to)) => answer(302, &format!("Location: {to}\r\n"), 0, b""),
        Some(Does::Answer(body)) => answer(200, "", body.len(), &body),
        Some(Does::AnswerPacked(body)) => {
            let mut packed =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            packed.write_all(&body).unwrap();
            let packed = packed.finish().unwrap();
            answer(200, "Content-Encoding: gzip\r\n", packed.len(), &packed);
        }
        Some(Does::BreakOff(part)) => answer(200, "", part.len() + 1000, &part),
        Some(Does::Stall(part)) => {
            answer(200, "", part.len() + 1000, &part);
            // Until the other side closes.
            let _ = lines.next();
        }
    }
}
