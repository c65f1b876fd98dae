//! Connections that change their runtime.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;

use klusterkite_tls::testing::{Authority, Ends};
use klusterkite_tls::{DetachedStream, Identity, ServerStream, Trust};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// More than TLS and the socket take at once.
const LONG: usize = 3_000_000;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Accepts a connection, says "first" after as much was said, and lets go of it.
fn accepted(listener: std::net::TcpListener, identity: Option<&Identity>) -> DetachedStream {
    runtime().block_on(async {
        let listener = TcpListener::from_std(listener).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = match identity {
            Some(identity) => identity.accept(stream),
            None => ServerStream::plain(stream),
        };
        let mut first = [0; 5];
        stream.read_exact(&mut first).await.unwrap();
        stream.write_all(&first).await.unwrap();
        stream.flush().await.unwrap();
        stream.detach().unwrap()
    })
}

/// Reads so many bytes, sends all of them back and closes.
fn echo(stream: DetachedStream) {
    runtime().block_on(async {
        let (mut stream, mut come) = (stream.attach().unwrap(), Vec::new());
        while come.len() < LONG {
            let read = poll_fn(|cx| stream.poll_read(cx, &mut come)).await;
            assert!(read.unwrap() > 0);
        }
        stream.write(&come[..10]);
        stream.write(&come[10..]);
        poll_fn(|cx| stream.poll_flush(cx)).await.unwrap();
        poll_fn(|cx| stream.poll_shutdown(cx)).await.unwrap();
        // Until the client has closed, too.
        while poll_fn(|cx| stream.poll_read(cx, &mut come))
            .await
            .is_ok_and(|read| read > 0)
        {}
    });
}

fn talk(mut stream: impl Read + Write) {
    stream.write_all(b"first").unwrap();
    let mut first = [0; 5];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"first");
    let long: Vec<u8> = (0..LONG).map(|at| (at % 251) as u8).collect();
    stream.write_all(&long).unwrap();
    let mut back = Vec::new();
    // With TLS an end that was not announced is an error.
    stream.read_to_end(&mut back).unwrap();
    assert!(back == long, "{} bytes came back", back.len());
}

#[test]
fn a_connection_goes_on_in_another_runtime() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let ca = authority.write(directory.path());
    let files = authority.write_identity(directory.path(), &["localhost"], Ends::Late);
    let identity = Identity::read(files.certificate, files.key).unwrap();
    for identity in [Some(identity), None] {
        let secure = identity.is_some();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let (give, take) = mpsc::channel();
        let first = thread::spawn(move || give.send(accepted(listener, identity.as_ref())));
        let second = thread::spawn(move || echo(take.recv().unwrap()));
        let stream = TcpStream::connect(address).unwrap();
        if secure {
            let config = Trust::Authorities(vec![ca.clone()])
                .client_config()
                .unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let client = ClientConnection::new(config, name).unwrap();
            talk(StreamOwned::new(client, stream));
        } else {
            talk(stream);
        }
        first.join().unwrap().unwrap();
        second.join().unwrap();
    }
}

#[test]
fn a_connection_without_a_handshake_is_not_let_go() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let files = authority.write_identity(directory.path(), &["localhost"], Ends::Late);
    let identity = Identity::read(files.certificate, files.key).unwrap();
    runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
        let (_client, accepted) = tokio::join!(client, listener.accept());
        assert!(identity.accept(accepted.unwrap().0).detach().is_err());
    });
}
