//! The feed, as the real nuget.exe 5.8 on Mono sees it.

mod client;
mod feed;
mod launched;
mod packages;
mod publishing;
mod reading;
mod secure;
mod symbols;
