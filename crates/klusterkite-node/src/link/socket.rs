//! One WebSocket connection to a manager.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use klusterkite_tls::Trust;
use klusterkite_wire::link::{MANAGER_FRAME_BYTES_MAX, ManagerMessage, NodeMessage};
use klusterkite_wire::{Problem, Secret, chain};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, HeaderValue};
use tokio_tungstenite::tungstenite::http::{StatusCode, Uri};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};

use super::LinkSettings;
use super::state::Refusal;

/// Read buffer of a connection, in bytes: messages are mostly small, and the default costs 128 KiB for ever.
const READ_BUFFER_BYTES: usize = 4 << 10;

/// How long one message may take to be taken by the kernel; a peer that reads nothing for so long is away.
const SEND_TIME_MAX: Duration = Duration::from_secs(10);

/// Longest accepted token, in bytes.
const TOKEN_BYTES_MAX: usize = 4 << 10;

/// Problem code of a refused connection that says that the node was replaced.
const CODE_FENCED: &str = "fenced";

/// A connection, plain or with TLS.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// An open connection.
pub(super) struct Connection {
    socket: WebSocketStream<Box<dyn Stream>>,
    url: String,
    local_address: String,
}

impl Connection {
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn local_address(&self) -> &str {
        &self.local_address
    }

    /// Reads the next frame; `None` when it holds no message that this version knows. Safe to cancel.
    pub(super) async fn receive(&mut self) -> Result<Option<ManagerMessage>, String> {
        match self.socket.next().await {
            Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                Ok(message) => Ok(Some(message)),
                Err(error) => {
                    // A newer manager may say more than this version understands.
                    tracing::warn!(%error, "a message of the manager is not known");
                    Ok(None)
                }
            },
            Some(Ok(Message::Close(frame))) => {
                let why = frame.map_or(String::new(), |frame| format!(": {frame}"));
                Err(format!("the manager closed it{why}"))
            }
            Some(Ok(_)) => Ok(None),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("the manager closed it".to_owned()),
        }
    }

    pub(super) async fn send(&mut self, message: &NodeMessage) -> Result<(), String> {
        let text = serde_json::to_string(message).map_err(|error| error.to_string())?;
        match time::timeout(SEND_TIME_MAX, self.socket.send(Message::text(text))).await {
            Ok(sent) => sent.map_err(|error| error.to_string()),
            Err(_) => Err("the manager takes no message".to_owned()),
        }
    }

    /// Closes properly and waits for the answer, so that what was sent last is read.
    pub(super) async fn close(mut self) {
        if self.socket.close(None).await.is_ok() {
            while let Some(Ok(message)) = self.socket.next().await {
                if message.is_close() {
                    return;
                }
            }
        }
    }
}

/// Why there is no connection.
pub(super) struct NotConnected {
    pub(super) refusal: Refusal,
    /// For the log.
    pub(super) text: String,
}

impl NotConnected {
    fn failed(text: String) -> Self {
        let refusal = Refusal::Failed;
        Self { refusal, text }
    }
}

type Connecting = Pin<Box<dyn Future<Output = Result<Connection, NotConnected>> + Send>>;

/// Begins to connect to the manager at `url`; the caller limits the time.
pub(super) fn connect(url: String, settings: &LinkSettings) -> Connecting {
    let token = read_token(&settings.token_file);
    let path = format!("/api/v1/nodes/{}/link", settings.node_id);
    let trust = settings.trust.clone();
    Box::pin(async move {
        let token = token?;
        let target = Target::parse(&url, &path).map_err(NotConnected::failed)?;
        let (stream, local_address) = open(&target)
            .await
            .map_err(|error| NotConnected::failed(format!("manager `{url}`: {error}")))?;
        let stream: Box<dyn Stream> = if target.is_secure {
            Box::new(secure(&url, &target, &trust, stream).await?)
        } else {
            Box::new(stream)
        };
        upgrade(url, target, token, stream, local_address).await
    })
}

async fn open(target: &Target) -> io::Result<(TcpStream, String)> {
    let stream = TcpStream::connect((target.host.as_str(), target.port)).await?;
    // Heartbeats and orders are small and must not wait for more.
    stream.set_nodelay(true)?;
    let local_address = stream.local_addr()?.ip().to_string();
    Ok((stream, local_address))
}

/// Makes a connection secure; the server has to be whom the URL names.
async fn secure(
    url: &str,
    target: &Target,
    trust: &Trust,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, NotConnected> {
    let config = trust
        .client_config()
        .map_err(|error| NotConnected::failed(chain(&error)))?;
    let name = ServerName::try_from(target.host.clone())
        .map_err(|error| NotConnected::failed(format!("manager `{url}`: {error}")))?;
    let connected = TlsConnector::from(config).connect(name, stream).await;
    connected.map_err(|error| {
        let explained = trust.explain(url, &error);
        NotConnected::failed(explained.map_or_else(
            || format!("manager `{url}`: {error}"),
            |explained| chain(&explained),
        ))
    })
}

async fn upgrade(
    url: String,
    target: Target,
    token: Secret,
    stream: Box<dyn Stream>,
    local_address: String,
) -> Result<Connection, NotConnected> {
    let mut request = target
        .request
        .into_client_request()
        .map_err(|error| NotConnected::failed(format!("manager `{url}`: {error}")))?;
    let mut bearer =
        HeaderValue::from_str(&format!("Bearer {}", token.reveal())).map_err(|_| {
            NotConnected::failed("the node token has letters that no header can hold".to_owned())
        })?;
    bearer.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, bearer);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(Some(MANAGER_FRAME_BYTES_MAX))
        .max_frame_size(Some(MANAGER_FRAME_BYTES_MAX));
    match tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await {
        Ok((socket, _)) => Ok(Connection {
            socket,
            url,
            local_address,
        }),
        Err(error) => Err(refused(&url, &error)),
    }
}

fn refused(url: &str, error: &tungstenite::Error) -> NotConnected {
    let tungstenite::Error::Http(response) = error else {
        return NotConnected::failed(format!("manager `{url}`: {error}"));
    };
    let status = response.status();
    let body = response.body().as_deref().unwrap_or_default();
    let problem: Option<Problem> = serde_json::from_slice(body).ok();
    let fenced = problem
        .as_ref()
        .is_some_and(|problem| problem.code == CODE_FENCED);
    let why = match problem {
        Some(problem) => format!("{}: {}", problem.code, problem.detail),
        None if status == StatusCode::UNAUTHORIZED => {
            "the node token is not known there (any more)".to_owned()
        }
        None => "it gave no reason".to_owned(),
    };
    NotConnected {
        refusal: if fenced {
            Refusal::Fenced
        } else {
            Refusal::Failed
        },
        text: format!("manager `{url}` answered {status}: {why}"),
    }
}

fn read_token(path: &Path) -> Result<Secret, NotConnected> {
    let no_token = |text: String| NotConnected {
        refusal: Refusal::NoToken,
        text,
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| no_token(format!("node token `{}`: {error}", path.display())))?;
    let text = text.trim();
    if text.is_empty() || text.len() > TOKEN_BYTES_MAX {
        return Err(no_token(format!(
            "node token `{}` has {} bytes instead of 1 to {TOKEN_BYTES_MAX}",
            path.display(),
            text.len()
        )));
    }
    Ok(Secret::new(text))
}

/// Where a link goes.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    is_secure: bool,
    host: String,
    port: u16,
    /// Address of the WebSocket.
    request: String,
}

impl Target {
    /// Reads the origin of a manager (`http://host:port` or `https://…`) and appends the path of the link.
    fn parse(url: &str, path: &str) -> Result<Self, String> {
        let uri: Uri = url
            .parse()
            .map_err(|error| format!("manager URL `{url}` is not valid: {error}"))?;
        let (is_secure, scheme, default_port) = match uri.scheme_str() {
            Some("http" | "ws") => (false, "ws", 80),
            Some("https" | "wss") => (true, "wss", 443),
            _ => {
                return Err(format!(
                    "manager URL `{url}` does not begin with `http://` or `https://`"
                ));
            }
        };
        let host = uri
            .host()
            .ok_or_else(|| format!("manager URL `{url}` has no host"))?;
        let port = uri.port_u16().unwrap_or(default_port);
        let prefix = uri.path().trim_end_matches('/');
        Ok(Self {
            is_secure,
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            request: format!("{scheme}://{host}:{port}{prefix}{path}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_the_link_is_made_from_the_managers_origin() {
        let cases = [
            ("http://a:8080", "a", 8080, "ws://a:8080/link"),
            ("http://a", "a", 80, "ws://a:80/link"),
            ("ws://a:1/", "a", 1, "ws://a:1/link"),
            ("http://a:1/kk/", "a", 1, "ws://a:1/kk/link"),
            ("http://[::1]:8080", "::1", 8080, "ws://[::1]:8080/link"),
            ("https://a", "a", 443, "wss://a:443/link"),
            ("https://[::1]:8443", "::1", 8443, "wss://[::1]:8443/link"),
        ];
        for (url, host, port, request) in cases {
            let expected = Target {
                is_secure: request.starts_with("wss"),
                host: host.to_owned(),
                port,
                request: request.to_owned(),
            };
            assert_eq!(Target::parse(url, "/link"), Ok(expected), "{url}");
        }
        for url in ["", "a", "a:80", "ftp://a", "/x", "http://"] {
            assert!(Target::parse(url, "/link").is_err(), "{url}");
        }
    }
}
