//! The routes.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::database::Database;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) version: Arc<str>,
    pub(crate) node_id: Arc<str>,
    pub(crate) database: Database,
    /// Set from TERM on: every answer asks its client not to come back to this connection.
    pub(crate) stopping: Arc<AtomicBool>,
}

pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/", get(hello))
        .route("/ready", get(ready))
        .route("/version", get(version))
        .layer(middleware::from_fn_with_state(app.clone(), close))
        .with_state(app)
}

async fn hello(State(app): State<App>) -> Response {
    match text(&app).await {
        Ok(text) => text.into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn text(app: &App) -> anyhow::Result<String> {
    let point = app.database.point().await?;
    let mut text = app.database.greetings().await?.join(", ");
    let App {
        version, node_id, ..
    } = app;
    write!(
        text,
        "\nversion {version}\nnode {node_id}\nschema {point}\n"
    )?;
    Ok(text)
}

async fn ready(State(app): State<App>) -> Response {
    if app.stopping.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    match app.database.point().await {
        Ok(_) => "ready\n".into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn version(State(app): State<App>) -> String {
    format!("{}\n", app.version)
}

fn unavailable(error: &anyhow::Error) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n")).into_response()
}

async fn close(State(app): State<App>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if app.stopping.load(Ordering::Relaxed) {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}
