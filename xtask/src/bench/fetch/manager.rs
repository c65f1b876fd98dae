//! A manager that gives everybody one answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use anyhow::Result;
use serde_json::Value;

/// A manager on a free port, until the program ends.
pub(super) struct Manager {
    pub(super) url: String,
}

impl Manager {
    pub(super) fn start(configuration: &Value) -> Result<Self> {
        let mut configuration = configuration.clone();
        configuration["nodeToken"] = "bench".into();
        let configuration = configuration.to_string();
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A launcher that was stopped meanwhile does not want its answer any more.
                let _ = stream.and_then(|stream| answer(stream, &configuration));
            }
        });
        Ok(Self { url })
    }
}

fn answer(mut stream: TcpStream, configuration: &str) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    let body = if request.contains("/oauth/token") {
        r#"{"access_token": "bench", "token_type": "Bearer", "expires_in": 3600}"#
    } else if request.contains("/nodes/configuration") {
        configuration
    } else {
        "{}"
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes())
}
