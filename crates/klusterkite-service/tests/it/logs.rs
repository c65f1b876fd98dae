use klusterkite_wire::link::{
    LOG_OF_HOST, LogChunk, LogRequest, LogStream, ManagerMessage, NodeMessage,
};
use rustix::process::Signal;
use serde_json::json;

use crate::bench::{ManagerLink, ServiceDirectory};

/// Asks the node and returns its answer.
async fn ask(link: &mut ManagerLink, request: LogRequest) -> LogChunk {
    let number = request.request;
    link.send(&ManagerMessage::Logs(request)).await;
    loop {
        match link.next().await {
            Some(NodeMessage::Logs(chunk)) if chunk.request == number => return chunk,
            Some(_) => {}
            None => panic!("the link ended"),
        }
    }
}

/// Asks for lines after a cursor until one of them says something.
async fn lines_until(link: &mut ManagerLink, mut after: Option<u64>, last: &str) -> LogChunk {
    let mut all = Vec::new();
    for request in 1.. {
        let chunk = ask(
            link,
            LogRequest {
                request,
                after,
                process: Some("a".to_owned()),
                lines: 1000,
                wait_seconds: 20,
            },
        )
        .await;
        after = Some(chunk.cursor);
        all.extend(chunk.lines.clone());
        if all.iter().any(|line| line.line == last) {
            let (request, cursor) = (chunk.request, chunk.cursor);
            let lines = all;
            return LogChunk {
                request,
                lines,
                cursor,
            };
        }
    }
    unreachable!("there are enough numbers")
}

#[tokio::test]
async fn a_node_gives_the_lines_of_its_processes_also_those_before_it_crashed() {
    let mut directory = ServiceDirectory::new(&json!({ "a": { "command": ["a"] } }));
    directory.script(
        "a",
        "echo one; echo two >&2; while ! test -f crash; do sleep 0.01; done; rm crash\n\
         echo last words; exit 3",
    );
    let manager = directory.manager().await;
    let mut host = directory.host();
    let (mut link, _) = manager.welcome().await;
    let chunk = lines_until(&mut link, None, "two").await;
    let mut said: Vec<(LogStream, &str)> = chunk
        .lines
        .iter()
        .map(|line| (line.stream, line.line.as_str()))
        .collect();
    // Two pipes have no common order.
    said.sort_by_key(|(_, line)| *line);
    assert_eq!(
        said,
        [(LogStream::Stdout, "one"), (LogStream::Stderr, "two")]
    );
    assert!(chunk.lines.iter().all(|line| line.process == "a"));

    let of_host = LogRequest {
        request: 90,
        after: None,
        process: Some(LOG_OF_HOST.to_owned()),
        lines: 100,
        wait_seconds: 0,
    };
    let own = ask(&mut link, of_host).await;
    assert!(own.lines.iter().any(|line| line.line.contains("started")));

    directory.write("crash", "");
    assert_eq!(host.end().await.0, 1);
    let mut again = directory.host();
    let (mut link, _) = manager.welcome().await;
    let rest = lines_until(&mut link, Some(chunk.cursor), "one").await;
    assert_eq!(rest.lines[0].line, "last words");
    again.signal(Signal::TERM);
    link.rest().await;
    assert_eq!(again.end().await.0, 0);
}
