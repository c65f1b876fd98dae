//! Sample service: says hello over HTTP, with its version, its node and the point of its database.
//!
//! One program, any version: which version it is, and which points of the schema it needs, is content of its package.

mod app;
mod database;
mod serve;
mod settings;

fn main() -> anyhow::Result<()> {
    let settings = settings::Settings::load()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve::serve(settings))
}
