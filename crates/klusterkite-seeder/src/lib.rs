//! Creates a new cluster: its configuration database, its credentials and its fallback files.
//!
//! It runs once beside the feed, before anything else, and may be run again: what is there stays as it is.
//! The order makes every moment safe to be killed at: packages are resolved and checked, then the
//! credentials are on disk, then the fallback files, and the database appears last and as a whole. So a
//! database that can be seen has credentials that open it, and a run that was cut short starts over with
//! the credentials that it had handed out.
//!
//! Before the cluster is created, the seeders that the settings name create what its resources need: databases, roles.
//! They come from packages of the configuration, each runs as a process of its own, in the order of the settings, and
//! each is tried until it has worked, or `wait` is over. A later run runs them again; they look before they create.
//!
//! # Settings
//!
//! A HOCON file, named by the first argument (`seeder.hocon` without one). Environment variables of
//! [`settings::ENVIRONMENT`] win over it.
//!
//! ```hocon
//! database = /var/lib/klusterkite/cluster.db        # absolute; what the manager's template names
//! credentialsFile = /etc/klusterkite/credentials.json
//! feed = "http://127.0.0.1:8081/v3/index.json"      # default: nugetFeed of the configuration
//! feedCredentialFile = /etc/klusterkite/feed.json   # {"apiKey": "…"}; default: none
//! wait = 10m                                        # for packages, and for each seeder; default: for ever
//! settingsFile = cluster.json                       # beside this file; or `settings { … }` here
//! configuration { name = "Initial configuration", majorVersion = 1, minorVersion = 0, notes = "" }
//! fallbackDirectory = /etc/klusterkite/fallback     # files `<template>.<rid>.json`
//! fallbackTemplates = [clusterManager]
//! users {
//!   admin { login = admin, passwordFile = … }       # or `password`; default: 256 random bits
//!   guest { login = guest }
//! }
//! clients = [manager, worker]                       # container types; or with values of your own:
//! # clients { manager {}, worker { id = launcher-worker, secretFile = … } }
//! seeders = [{                                      # default: none
//!   migratorTemplate = db                           # whose packages and settings they get
//!   run = ["Acme.OrdersDb"]                         # names in the manifests' section `seeders`
//!   settings { Acme.OrdersDb.databases.orders.admin.url = "postgres://…" }   # on top, for them alone
//!   timeout = 10m
//! }]
//! ```
//!
//! A package version in the settings may be `newest`.
//!
//! # Exit codes
//!
//! 0: the cluster was created, or was there already and is unchanged. 1: it could not be created.
//! 2: the settings cannot be used.

mod credentials;
mod fallback;
mod files;
mod packages;
mod pause;
mod resources;
mod seed;
pub mod settings;

pub use seed::{Failure, Moment, Outcome, run};
