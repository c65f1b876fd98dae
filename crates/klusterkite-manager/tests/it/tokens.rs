//! The token endpoint.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use klusterkite_store::rows::TokenKind;
use serde_json::Value;

use crate::harness::{Answer, CLIENT_SECRET, PASSWORD, Server};

/// A form, and the status and error that it gets.
type Case = (&'static [(&'static str, &'static str)], u16, &'static str);

const TOKEN: &str = "/oauth/token";

fn login(server: &Server, login: &str, password: &str) -> Answer {
    let form = [
        ("grant_type", "password"),
        ("username", login),
        ("password", password),
    ];
    server.request("POST", TOKEN).form(&form).send()
}

fn refresh(server: &Server, token: &Value) -> Answer {
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", token.as_str().unwrap()),
    ];
    server.request("POST", TOKEN).form(&form).send()
}

fn revoke(server: &Server, token: &Value) {
    let form = [("token", token.as_str().unwrap())];
    server
        .request("POST", "/oauth/revoke")
        .form(&form)
        .send()
        .ok(200);
}

fn me(server: &Server, token: &Value) -> u16 {
    server
        .request("GET", "/api/v1/me")
        .bearer(token.as_str().unwrap())
        .send()
        .status
}

#[track_caller]
fn refused(answer: &Answer, status: u16, error: &str) {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert_eq!(answer.json()["error"], error);
    assert_eq!(answer.headers["cache-control"], "no-store");
}

#[test]
fn a_user_logs_in_with_login_and_password() {
    let server = Server::start();
    let answer = login(&server, "admin", PASSWORD);
    let token = answer.ok(200);
    assert_eq!(token["token_type"], "bearer");
    assert_eq!(token["expires_in"], 1800);
    assert!(token["access_token"].as_str().unwrap().starts_with("kku_"));
    assert!(token["refresh_token"].as_str().unwrap().starts_with("kkr_"));
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(me(&server, &token["access_token"]), 200);
    // A refresh token is good for the token endpoint only.
    assert_eq!(me(&server, &token["refresh_token"]), 401);
}

#[test]
fn tokens_are_stored_as_hashes() {
    let server = Server::start();
    let token = login(&server, "admin", PASSWORD).ok(200);
    let state = server.block_on(server.cluster.read());
    let stored = format!("{:?}", state.accounts.read().tokens);
    for kind in ["access_token", "refresh_token"] {
        let token = token[kind].as_str().unwrap();
        assert!(
            !stored.contains(token) && !stored.contains(&token[4..]),
            "{kind}"
        );
    }
}

#[test]
fn a_launcher_logs_in_by_form_or_basic() {
    let server = Server::start();
    let grant = ("grant_type", "client_credentials");
    let form = [
        grant,
        ("client_id", "worker"),
        ("client_secret", CLIENT_SECRET),
    ];
    let by_form = server.request("POST", TOKEN).form(&form).send().ok(200);
    let pair = STANDARD.encode(format!("worker:{CLIENT_SECRET}"));
    let basic = format!("Basic {pair}");
    let by_basic = server
        .request("POST", TOKEN)
        .form(&[grant])
        .header("authorization", &basic)
        .send()
        .ok(200);
    for token in [by_form, by_basic] {
        assert_eq!(token["expires_in"], 3600);
        assert_eq!(token.get("refresh_token"), None);
        let me = server
            .request("GET", "/api/v1/me")
            .bearer(token["access_token"].as_str().unwrap())
            .send();
        assert_eq!(me.ok(200)["kind"], "client");
    }
    let both = server
        .request("POST", TOKEN)
        .form(&form)
        .header("authorization", &basic)
        .send();
    refused(&both, 400, "invalid_request");
}

#[test]
fn requests_that_give_no_token_say_why_as_the_rfc_says() {
    let server = Server::start();
    let cases: [Case; 9] = [
        (&[], 400, "invalid_request"),
        (&[("grant_type", "magic")], 400, "unsupported_grant_type"),
        (
            &[("grant_type", "password"), ("grant_type", "password")],
            400,
            "invalid_request",
        ),
        (
            &[("grant_type", "password"), ("username", "admin")],
            400,
            "invalid_request",
        ),
        (&[("grant_type", "refresh_token")], 400, "invalid_request"),
        (
            &[
                ("grant_type", "refresh_token"),
                ("refresh_token", "kkr_x_y"),
            ],
            400,
            "invalid_grant",
        ),
        (
            &[("grant_type", "client_credentials")],
            400,
            "invalid_request",
        ),
        (
            &[
                ("grant_type", "client_credentials"),
                ("client_id", "worker"),
                ("client_secret", "x"),
            ],
            401,
            "invalid_client",
        ),
        (
            &[
                ("grant_type", "client_credentials"),
                ("client_id", "nobody"),
                ("client_secret", CLIENT_SECRET),
            ],
            401,
            "invalid_client",
        ),
    ];
    for (form, status, error) in cases {
        refused(
            &server.request("POST", TOKEN).form(form).send(),
            status,
            error,
        );
    }
    let json =
        serde_json::json!({"grant_type": "password", "username": "admin", "password": PASSWORD});
    refused(
        &server.request("POST", TOKEN).json(&json).send(),
        400,
        "invalid_request",
    );
    let in_query = server
        .request("POST", &format!("{TOKEN}?grant_type=password"))
        .form(&[])
        .send();
    in_query.problem(400, "invalid");
    for header in ["Basic", "Basic ???", "Basic YWJj", "Bearer x"] {
        let call = server
            .request("POST", TOKEN)
            .form(&[("grant_type", "client_credentials")]);
        refused(
            &call.header("authorization", header).send(),
            400,
            "invalid_request",
        );
    }
}

#[test]
fn a_refresh_token_is_good_once_and_a_second_use_ends_the_login() {
    let server = Server::start();
    let first = login(&server, "admin", PASSWORD).ok(200);
    let other_login = login(&server, "admin", PASSWORD).ok(200);
    let second = refresh(&server, &first["refresh_token"]).ok(200);
    assert_eq!(me(&server, &first["access_token"]), 401);
    assert_eq!(me(&server, &second["access_token"]), 200);

    refused(
        &refresh(&server, &first["refresh_token"]),
        400,
        "invalid_grant",
    );
    assert_eq!(me(&server, &second["access_token"]), 401);
    refused(
        &refresh(&server, &second["refresh_token"]),
        400,
        "invalid_grant",
    );
    assert_eq!(me(&server, &other_login["access_token"]), 200);
}

#[test]
fn revoking_either_token_ends_the_login_and_an_unknown_token_is_no_error() {
    let server = Server::start();
    for kind in ["access_token", "refresh_token"] {
        let token = login(&server, "admin", PASSWORD).ok(200);
        revoke(&server, &token[kind]);
        assert_eq!(me(&server, &token["access_token"]), 401);
        refused(
            &refresh(&server, &token["refresh_token"]),
            400,
            "invalid_grant",
        );
    }
    revoke(&server, &Value::from("kku_unknown"));
}

#[test]
fn a_blocked_user_gets_the_answer_of_a_wrong_password() {
    let server = Server::start();
    let blocked = login(&server, "blocked", PASSWORD);
    let wrong = login(&server, "admin", "wrong");
    assert_eq!((blocked.status, &blocked.text), (wrong.status, &wrong.text));
    refused(&blocked, 400, "invalid_grant");
}

#[test]
fn a_blocked_user_gets_no_new_token_for_a_refresh_token() {
    let server = Server::start();
    let token = login(&server, "admin", PASSWORD).ok(200);
    server
        .cluster
        .accounts()
        .write()
        .users
        .get_mut("admin")
        .unwrap()
        .is_blocked = true;
    refused(
        &refresh(&server, &token["refresh_token"]),
        400,
        "invalid_grant",
    );
}

#[test]
fn guesses_are_limited_and_told_when_to_come_back() {
    let server = Server::start();
    for _ in 0..10 {
        refused(&login(&server, "admin", "wrong"), 400, "invalid_grant");
    }
    let answer = login(&server, "admin", PASSWORD);
    answer.problem(429, "tooManyRequests");
    assert!(answer.headers["retry-after"].parse::<u64>().unwrap() >= 1);
    // Another account at the same address still has tries.
    refused(&login(&server, "nobody", "wrong"), 400, "invalid_grant");

    let wrong = [
        ("grant_type", "client_credentials"),
        ("client_id", "worker"),
        ("client_secret", "x"),
    ];
    for _ in 0..10 {
        refused(
            &server.request("POST", TOKEN).form(&wrong).send(),
            401,
            "invalid_client",
        );
    }
    server
        .request("POST", TOKEN)
        .form(&wrong)
        .send()
        .problem(429, "tooManyRequests");
    // Who has the secret is not held up by those who guess beside him.
    let right = [wrong[0], wrong[1], ("client_secret", CLIENT_SECRET)];
    server.request("POST", TOKEN).form(&right).send().ok(200);
}

#[test]
fn logins_that_succeed_are_not_limited_but_their_number_is() {
    let server = Server::start();
    let first = login(&server, "admin", PASSWORD).ok(200);
    for _ in 0..64 {
        login(&server, "admin", PASSWORD).ok(200);
    }
    assert_eq!(me(&server, &first["access_token"]), 401);
    let state = server.block_on(server.cluster.read());
    let accounts = state.accounts.read();
    let logins = accounts
        .tokens
        .values()
        .filter(|row| row.kind == TokenKind::UserRefresh);
    assert_eq!(logins.count(), 64);
}

#[test]
fn expired_tokens_leave_the_store() {
    let server = Server::start();
    let now = server.cluster.now().0;
    server.token_until("admin", TokenKind::UserAccess, now.saturating_sub(1));
    login(&server, "admin", PASSWORD).ok(200);
    let state = server.block_on(server.cluster.read());
    let accounts = state.accounts.read();
    assert!(accounts.tokens.values().all(|row| row.expires >= now));
}

#[test]
fn tokens_outlive_a_restart_of_the_manager() {
    let server = Server::start();
    let token = login(&server, "admin", PASSWORD).ok(200);
    let stored = server.block_on(server.cluster.store().snapshot()).unwrap();
    let hash = klusterkite_manager::secrets::hash(&klusterkite_wire::Secret::new(
        token["access_token"].as_str().unwrap(),
    ));
    assert!(stored.tokens.iter().any(|row| row.hash == hash));
}
