//! Who is accepted by whom, and what those are told who are not.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use klusterkite_tls::testing::{Authority, Ends, IdentityFiles};
use klusterkite_tls::{Agents, Error, HANDSHAKE_MAX, Identity, Trust};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use ureq::Agent;

/// A server that answers every request with "yes", in a thread of its own until the test ends.
fn serve(files: &IdentityFiles) -> SocketAddr {
    let identity = Identity::read(files.certificate.clone(), files.key.clone()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let mut stream = identity.accept(stream);
                tokio::spawn(async move {
                    let mut head = [0; 4096];
                    if stream.read(&mut head).await.is_ok_and(|read| read > 0) {
                        let answer =
                            b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nyes";
                        let _ = stream.write_all(answer).await;
                        let _ = stream.shutdown().await;
                    }
                });
            }
        });
    });
    address
}

fn agents(authority: &Path) -> Agents {
    Agents::new(Trust::Authorities(vec![authority.to_owned()]), || {
        Agent::config_builder()
            .http_status_as_error(false)
            .max_idle_connections(0)
            .timeout_global(Some(Duration::from_secs(30)))
    })
}

fn get(agents: &Agents, url: &str) -> Result<(u16, String), Error> {
    match agents.get(url)?.get(url).call() {
        Ok(mut response) => {
            let body = response.body_mut().read_to_string().unwrap();
            Ok((response.status().as_u16(), body))
        }
        Err(error) => Err(agents
            .explain(url, &error)
            .unwrap_or_else(|| panic!("{error:?} is not explained"))),
    }
}

#[test]
fn a_certificate_of_the_own_authority_is_accepted_by_name_and_by_address() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let ca = authority.write(directory.path());
    let files = authority.write_identity(directory.path(), &["localhost", "127.0.0.1"], Ends::Late);
    let address = serve(&files);
    let agents = agents(&ca);
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("https://{host}:{}/", address.port());
        assert_eq!(get(&agents, &url).unwrap(), (200, "yes".to_owned()));
    }
}

#[test]
fn whoever_is_not_accepted_is_named_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let ours = Authority::new("ours");
    let ca = ours.write(directory.path());
    let stranger = Authority::new("stranger");
    let cases = [
        (
            &stranger,
            "127.0.0.1",
            Ends::Late,
            "not signed by the authority in `",
        ),
        (&ours, "127.0.0.1", Ends::Over, "has expired"),
        (
            &ours,
            "manager.example.org",
            Ends::Late,
            "is for DnsName(\"manager.example.org\")",
        ),
    ];
    for (authority, name, ends, expected) in cases {
        let server = tempfile::tempdir().unwrap();
        let address = serve(&authority.write_identity(server.path(), &[name], ends));
        let url = format!("https://{address}/");
        let error = get(&agents(&ca), &url).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains(&url), "{error}");
    }
}

#[test]
fn plain_and_secure_do_not_meet_but_both_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let ca = authority.write(directory.path());
    let address = serve(&authority.write_identity(directory.path(), &["127.0.0.1"], Ends::Late));
    let (status, body) = get(&agents(&ca), &format!("http://{address}/")).unwrap();
    assert_eq!(status, 400);
    assert!(
        body.contains("httpsRequired") && body.contains("https://"),
        "{body}"
    );

    // A request with a large body gets the answer too.
    let agent = agents(&ca).get("http://").unwrap();
    let body = vec![0; 60_000];
    let answer = agent.post(format!("http://{address}/")).send(&body[..]);
    assert_eq!(answer.unwrap().status(), 400);

    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = plain.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = plain.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]).unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
    });
    let error = get(&agents(&ca), &format!("https://{address}/")).unwrap_err();
    assert!(matches!(error, Error::NotTls { .. }), "{error}");
    server.join().unwrap();
}

#[test]
fn clients_that_say_nothing_or_garbage_keep_nobody_out() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let ca = authority.write(directory.path());
    let address = serve(&authority.write_identity(directory.path(), &["127.0.0.1"], Ends::Late));
    let silent: Vec<_> = (0..20)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let mut loud = TcpStream::connect(address).unwrap();
    loud.write_all(&[22, 3, 1, 255, 255, 7, 7, 7]).unwrap();
    let mut end = Vec::new();
    // An alert, or a reset: it ends at any rate, long before the time of a handshake.
    loud.set_read_timeout(Some(HANDSHAKE_MAX)).unwrap();
    let _ = loud.read_to_end(&mut end);

    let url = format!("https://{address}/");
    assert_eq!(get(&agents(&ca), &url).unwrap().0, 200);
    // Those who say nothing are sent away in the end.
    for mut silent in silent {
        silent.set_read_timeout(Some(HANDSHAKE_MAX * 2)).unwrap();
        assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0);
    }
}

#[test]
fn a_certificate_that_was_replaced_is_shown_and_half_a_replacement_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let (before, after) = (Authority::new("before"), Authority::new("after"));
    let files = before.write_identity(directory.path(), &["127.0.0.1"], Ends::Late);
    let address = serve(&files);
    let url = format!("https://{address}/");
    let ca = before.write(directory.path());
    // It reads its authority again when the file changes, like the server its certificate.
    let agents = agents(&ca);
    assert!(get(&agents, &url).is_ok());

    let next = tempfile::tempdir().unwrap();
    let next = after.write_identity(next.path(), &["127.0.0.1"], Ends::Late);
    std::fs::copy(&next.key, &files.key).unwrap();
    assert!(get(&agents, &url).is_ok(), "the key alone changes nothing");
    std::fs::copy(&next.certificate, &files.certificate).unwrap();
    let error = get(&agents, &url).unwrap_err();
    assert!(matches!(error, Error::Untrusted { .. }), "{error}");
    after.write(directory.path());
    assert!(get(&agents, &url).is_ok());
}
