//! From a request to a WebSocket (RFC 6455 4.2).

use std::io;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    CONNECTION, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use klusterkite_tls::{DetachedStream, ServerStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// A request that asks for a WebSocket.
pub(crate) struct Upgrade {
    accept: HeaderValue,
    on_upgrade: OnUpgrade,
}

impl Upgrade {
    /// Takes a request; says what is wrong with one that asks for something else.
    pub(crate) fn of(request: &mut Request) -> Result<Self, &'static str> {
        let headers = request.headers();
        if !names(headers, CONNECTION, "upgrade") {
            return Err("send `Connection: upgrade`");
        }
        if !names(headers, UPGRADE, "websocket") {
            return Err("send `Upgrade: websocket`");
        }
        if !names(headers, SEC_WEBSOCKET_VERSION, "13") {
            return Err("send `Sec-WebSocket-Version: 13`");
        }
        let key = headers.get(SEC_WEBSOCKET_KEY);
        let key = key.ok_or("send `Sec-WebSocket-Key`")?;
        let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()))
            .expect("base64 is a header value");
        let on_upgrade = request.extensions_mut().remove::<OnUpgrade>();
        Ok(Self {
            accept,
            on_upgrade: on_upgrade.ok_or("this connection cannot be upgraded, use HTTP/1.1")?,
        })
    }

    /// Returns the answer to the request, and what is there when the answer has been sent.
    pub(super) fn accept(self) -> (Response, OnUpgrade) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept);
        (response, self.on_upgrade)
    }
}

/// Tells whether a list of words in a header has this one; they have no case.
fn names(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let lists = headers.get_all(name);
    let lists = lists.iter().filter_map(|list| list.to_str().ok());
    lists
        .flat_map(|list| list.split(','))
        .any(|one| one.trim().eq_ignore_ascii_case(word))
}

/// Waits until the answer has been sent; returns the connection and what the client has sent after its request.
pub(super) async fn upgraded(on_upgrade: OnUpgrade) -> io::Result<(DetachedStream, Vec<u8>)> {
    let upgraded = on_upgrade.await.map_err(io::Error::other)?;
    let parts = upgraded.downcast::<TokioIo<ServerStream>>();
    let parts = parts.map_err(|_| io::Error::other("the connection was accepted elsewhere"))?;
    Ok((parts.io.into_inner().detach()?, parts.read_buf.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said() {
        let all = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        for missing in 0..=all.len() {
            let mut request = Request::new(Body::empty());
            for (at, (name, value)) in all.into_iter().enumerate() {
                if at != missing {
                    let value = HeaderValue::from_static(value);
                    request.headers_mut().insert(name, value);
                }
            }
            let error = Upgrade::of(&mut request).err().unwrap().to_lowercase();
            let expected = all.get(missing).map_or("cannot be upgraded", |all| all.0);
            assert!(error.contains(expected), "{error}: {expected}");
        }
    }
}
