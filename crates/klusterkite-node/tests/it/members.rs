use std::path::Path;
use std::time::Duration;

use klusterkite_node::program::members_at;
use klusterkite_node::{Error, MembersFile, MembersService, bind_socket};
use klusterkite_wire::link::{Member, Members};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

fn members() -> Members {
    let member = |number: u32, role: &str| Member {
        node_id: format!("00000000-0000-4000-8000-{number:012}")
            .parse()
            .unwrap(),
        template: "t".parse().unwrap(),
        roles: vec![role.to_owned()],
        address: "10.0.0.1".to_owned(),
        endpoints: Vec::new(),
    };
    Members {
        version: 9,
        members: vec![member(1, "web"), member(2, "db"), member(3, "web")],
    }
}

async fn ask(socket: &Path, role: Option<&str>) -> Result<Members, Error> {
    let (socket, role) = (socket.to_owned(), role.map(ToOwned::to_owned));
    tokio::task::spawn_blocking(move || members_at(&socket, role.as_deref()))
        .await
        .unwrap()
}

#[tokio::test]
async fn members_are_served_by_role_and_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("members.sock");
    let file = MembersFile::new(directory.path().join("members.json"));
    let service = MembersService::start(bind_socket(&socket).unwrap(), file.clone());
    assert_eq!(ask(&socket, None).await.unwrap(), Members::default());
    service.publish(members());
    assert_eq!(ask(&socket, None).await.unwrap(), members());
    let web = ask(&socket, Some("web")).await.unwrap();
    assert_eq!(web.members.len(), 2);
    assert!(ask(&socket, Some("none")).await.unwrap().members.is_empty());

    while file.read().unwrap() != members() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(service);
    let _again = MembersService::start(bind_socket(&socket).unwrap(), file);
    assert_eq!(ask(&socket, None).await.unwrap(), members());
}

#[tokio::test]
async fn a_request_that_is_not_understood_is_answered_and_does_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("members.sock");
    let file = MembersFile::new(directory.path().join("members.json"));
    let _service = MembersService::start(bind_socket(&socket).unwrap(), file);
    let long = format!("GET /members HTTP/1.1\r\nX: {}\r\n", "x".repeat(20_000));
    let cases = [
        ("\r\n\r\n", "HTTP/1.1 400"),
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404"),
        ("PUT /members HTTP/1.1\r\n\r\n", "HTTP/1.1 405"),
        (long.as_str(), "HTTP/1.1 431"),
    ];
    for (request, expected) in cases {
        let mut stream = UnixStream::connect(&socket).await.unwrap();
        // The service may answer and close before it has read everything.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(std::str::from_utf8(&head).unwrap(), expected);
    }
    // Bytes of any kind, in any number, whole or broken off.
    let mut state = 1_u32;
    for length in [1, 7, 300, 4000, 20_000, 200_000] {
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(length)
        .collect();
        let mut stream = UnixStream::connect(&socket).await.unwrap();
        let _ = stream.write_all(&bytes).await;
        drop(stream);
    }
    assert!(ask(&socket, None).await.is_ok());
}

#[tokio::test]
async fn a_damaged_file_of_members_is_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("members.sock");
    let path = directory.path().join("members.json");
    std::fs::write(&path, "{\"version\":").unwrap();
    let _service = MembersService::start(bind_socket(&socket).unwrap(), MembersFile::new(path));
    assert_eq!(ask(&socket, None).await.unwrap(), Members::default());
}
