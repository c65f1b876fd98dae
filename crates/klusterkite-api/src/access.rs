//! Tokens, users, roles and clients.

use klusterkite_wire::{ContainerType, Secret};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::privileges::Privilege;

/// Form of `POST /oauth/token` (RFC 6749 4.3, 4.4 and 6).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenForm {
    /// `password`, `refresh_token` or `client_credentials`.
    pub grant_type: String,
    /// Login of the user (`password`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Password of the user (`password`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Refresh token (`refresh_token`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<Secret>,
    /// Client id (`client_credentials`; also as Basic user name).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Client secret (`client_credentials`; also as Basic password).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
}

/// Answer of `POST /oauth/token` (RFC 6749 5.1).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenAnswer {
    /// Bearer token.
    pub access_token: Secret,
    /// Always `bearer`.
    pub token_type: String,
    /// Life of the access token in seconds.
    pub expires_in: u64,
    /// Single-use token for the next one (users only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<Secret>,
}

/// Error of `POST /oauth/token` and `/oauth/revoke` (RFC 6749 5.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenError {
    /// `invalid_request`, `invalid_client`, `invalid_grant`, `unsupported_grant_type`.
    pub error: String,
    /// One sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_description: Option<String>,
}

/// Form of `POST /oauth/revoke` (RFC 7009).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RevokeForm {
    /// Access or refresh token that ends now.
    pub token: Secret,
}

/// Who the bearer of the token is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Me {
    /// Login, client id or node id.
    pub name: String,
    /// Kind of the bearer.
    pub kind: BearerKind,
    /// Effective privileges.
    pub privileges: Vec<Privilege>,
}

/// Kinds of bearers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum BearerKind {
    /// A person.
    User,
    /// A launcher.
    Client,
    /// A node (link and members only).
    Node,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Login, unique.
    pub login: String,
    /// Blocked users cannot log in and their tokens are void.
    pub is_blocked: bool,
    /// Names of the user's roles.
    pub roles: Vec<String>,
}

/// A role: a denial in any role of a user wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Role {
    /// Name, unique.
    pub name: String,
    /// Privileges that it gives.
    pub allowed: Vec<Privilege>,
    /// Privileges that it takes away.
    pub denied: Vec<Privilege>,
}

/// Credentials of launchers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    /// Client id.
    pub id: String,
    /// Container types that it may ask for.
    pub container_types: Vec<ContainerType>,
}
