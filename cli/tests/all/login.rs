//! Logging in, and what happens without.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::fake::Fake;

async fn login(fake: &Fake, ca: &str, token: &str) -> crate::fake::Ran {
    let server = fake.address.to_string();
    fake.run(&["login", "--server", &server, "--ca-file", ca, "--token-file", token]).await
}

#[tokio::test]
async fn a_login_is_checked_then_kept() {
    let fake = Fake::start_without_login().await;
    let (ca, token) = (fake.path("ca.pem").display().to_string(), fake.path("token").display().to_string());
    let ran = login(&fake, &ca, &token).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stdout, format!("logged in to {} as ann (admin)\n", fake.address));
    assert_eq!(fs::metadata(fake.path("config.toml")).unwrap().permissions().mode() & 0o777, 0o600);
    let ran = fake.run(&["whoami", "-o", "json"]).await;
    assert_eq!((ran.code, ran.json()["role"].as_str()), (0, Some("admin")));
}

#[tokio::test]
async fn a_token_that_the_region_does_not_know_is_not_kept() {
    let fake = Fake::start_without_login().await;
    let (ca, token) = (fake.path("ca.pem").display().to_string(), fake.file("bad", b"other"));
    let ran = login(&fake, &ca, &token).await;
    assert_eq!(ran.code, 4);
    assert_eq!(ran.stderr, "error: the token is not known (UNAUTHENTICATED)\n");
    assert!(!fake.path("config.toml").exists());
}

#[tokio::test]
async fn a_region_of_another_ca_is_not_believed() {
    let (fake, other) = (Fake::start_without_login().await, Fake::start_without_login().await);
    let (ca, token) = (other.path("ca.pem").display().to_string(), fake.path("token").display().to_string());
    let ran = login(&fake, &ca, &token).await;
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.stderr.contains("invalid peer certificate"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("trying again"), "a certificate does not get better: {}", ran.stderr);
}

#[tokio::test]
async fn without_a_login_the_command_says_how_to_get_one() {
    let fake = Fake::start_without_login().await;
    let ran = fake.run(&["machine", "list"]).await;
    assert_eq!(ran.code, 4);
    assert!(ran.stderr.contains("run `farrier login"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_region_that_is_not_there_is_tried_for_a_while() {
    let fake = Fake::start().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    fake.save_login(listener.local_addr().unwrap());
    drop(listener);
    let ran = fake.run(&["whoami"]).await;
    assert_eq!(ran.code, 6);
    assert!(ran.stderr.contains("cannot reach the region at 127.0.0.1:"), "{}", ran.stderr);
    assert!(ran.stderr.contains("refused"), "{}", ran.stderr);
}

#[tokio::test]
async fn secrets_on_the_command_line_are_not_known() {
    let fake = Fake::start_without_login().await;
    let ran = fake.run(&["login", "--server", "a:1", "--ca-file", "x", "--token", "secret"]).await;
    assert_eq!(ran.code, 2);
}
