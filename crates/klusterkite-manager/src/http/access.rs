//! Who may do what: the bearer himself, privileges, users, roles, clients.

use axum::Json;
use axum::extract::State;
use klusterkite_api::access::{Client, Me, Role, User};
use klusterkite_api::page::Page;
use klusterkite_api::privileges::Privilege;

use crate::auth::Bearer;
use crate::cluster::Cluster;

pub(super) async fn me(bearer: Bearer) -> Json<Me> {
    Json(bearer.me())
}

pub(super) async fn privilege_list() -> Json<Page<Privilege>> {
    Json(Page::whole(Privilege::ALL.to_vec()))
}

pub(super) async fn user_list(State(cluster): State<Cluster>) -> Json<Page<User>> {
    let accounts = cluster.accounts().read();
    let users = accounts.users.values().map(|row| User {
        login: row.login.clone(),
        is_blocked: row.is_blocked,
        roles: row.roles.clone(),
    });
    Json(Page::whole(users.collect()))
}

pub(super) async fn role_list(State(cluster): State<Cluster>) -> Json<Page<Role>> {
    let accounts = cluster.accounts().read();
    let privileges = |names: &[String]| names.iter().filter_map(|name| name.parse().ok()).collect();
    let roles = accounts.roles.values().map(|row| Role {
        name: row.name.clone(),
        allowed: privileges(&row.allowed),
        denied: privileges(&row.denied),
    });
    Json(Page::whole(roles.collect()))
}

pub(super) async fn client_list(State(cluster): State<Cluster>) -> Json<Page<Client>> {
    let accounts = cluster.accounts().read();
    let clients = accounts.clients.values().map(|row| Client {
        id: row.id.clone(),
        container_types: row.container_types.clone(),
    });
    Json(Page::whole(clients.collect()))
}
