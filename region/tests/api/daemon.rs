//! The whole daemon, from its configuration.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use chrono::TimeDelta;
use farrier_common::{
    clock::{Clock, Timestamp},
    id::OperationId,
    telemetry::Chain,
    tls,
};
use farrier_proto::v1::WhoAmIRequest;
use farrier_region::{
    app::App,
    config::Config,
    crash::Crash,
    domain::operation::{Operation, Options, Status, Verb},
    region::Region,
    vault::{Vault, key_of},
};

use crate::site::{Users, by, channel};

fn config(dir: &Path) -> Config {
    let path = dir.join("region.toml");
    let text = format!("data_dir = {:?}\nlisten = '127.0.0.1:0'\nadvertise = '127.0.0.1:5240'\n", dir.join("data"));
    fs::write(&path, text).unwrap();
    Config::load(&path).unwrap()
}

#[tokio::test]
async fn the_first_start_makes_an_admin_and_stopping_ends_in_order() {
    tls::install_provider();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("admin-token");
    let region = Region::start(config(dir.path()), Some(&file), Clock::System, Crash::default()).await.unwrap();
    assert!(region.admin_token().is_none(), "the token is in the file");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let token = fs::read_to_string(&file).unwrap().trim().to_owned();
    let ca = fs::read_to_string(dir.path().join("data/ca.pem")).unwrap();
    let mut users = Users::new(channel(region.address(), &ca, None));
    let (stop, running) = (region.stop_signal(), tokio::spawn(region.run()));
    let me = users.who_am_i(by(&token, WhoAmIRequest {})).await.unwrap().into_inner();
    assert_eq!(me.name, "admin");
    stop.cancel();
    running.await.unwrap().unwrap();

    fs::remove_file(&file).unwrap();
    let region = Region::start(config(dir.path()), Some(&file), Clock::System, Crash::default()).await.unwrap();
    assert!(!file.exists() && region.admin_token().is_none(), "there is one first start");
    let mut users = Users::new(channel(region.address(), &ca, None));
    let (stop, running) = (region.stop_signal(), tokio::spawn(region.run()));
    users.who_am_i(by(&token, WhoAmIRequest {})).await.unwrap();
    stop.cancel();
    running.await.unwrap().unwrap();
}

/// An operation without machines that is over.
async fn over(region: &Region, finished_at: Timestamp) -> OperationId {
    let store = &region.app().store;
    let operation = Operation {
        id: OperationId::generate(),
        verb: Verb::Lock,
        status: Status::Done,
        user: store.user_find("admin").await.unwrap().unwrap().id,
        options: Options::default(),
        comment: String::new(),
        max_parallel: 1,
        stop_after_failures: 0,
        created_at: finished_at,
        finished_at: Some(finished_at),
    };
    store.operation_insert(None, operation.clone(), Vec::new(), |_| Vec::new()).await.unwrap();
    operation.id
}

#[tokio::test]
async fn operations_are_kept_as_long_as_the_log() {
    tls::install_provider();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("admin-token");
    let clock = Clock::manual(Clock::System.now());
    let region = Region::start(config(dir.path()), Some(&file), clock.clone(), Crash::default()).await.unwrap();
    let (old, young) = (over(&region, clock.now()).await, over(&region, clock.now() + TimeDelta::days(2)).await);
    region.stop_signal().cancel();
    region.run().await.unwrap();

    clock.advance(TimeDelta::days(91));
    let region = Region::start(config(dir.path()), Some(&file), clock, Crash::default()).await.unwrap();
    let store = region.app().store.clone();
    let gone = async {
        while store.operation_get(old).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("what is older than event_days goes");
    assert!(store.operation_get(young).await.unwrap().is_some(), "89 days old");
    region.stop_signal().cancel();
    region.run().await.unwrap();
}

#[tokio::test]
async fn a_folder_is_for_one_region_process() {
    tls::install_provider();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("admin-token");
    let region = Region::start(config(dir.path()), Some(&file), Clock::System, Crash::default()).await.unwrap();
    let refused = Region::start(config(dir.path()), Some(&file), Clock::System, Crash::default()).await;
    let why = Chain(&refused.err().unwrap()).to_string();
    let folder = dir.path().join("data").display().to_string();
    assert!(why.contains("another region process runs in data_dir") && why.contains(&folder), "{why}");
    region.stop_signal().cancel();
    region.run().await.unwrap();
    assert!(Region::start(config(dir.path()), Some(&file), Clock::System, Crash::default()).await.is_ok());
}

#[tokio::test]
async fn a_region_that_starts_with_a_new_key_brings_all_secrets_under_it() {
    tls::install_provider();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("admin-token");
    let region = Region::start(config(dir.path()), Some(&file), Clock::System, Crash::default()).await.unwrap();
    let App { vault, store, .. } = region.app();
    store.secret_put("bmc-own/1", vault.seal("bmc-own/1", b"hunter2")).await.unwrap();
    region.stop_signal().cancel();
    region.run().await.unwrap();

    Vault::add_key(&dir.path().join("data")).unwrap();
    let region = Region::start(config(dir.path()), Some(&file), Clock::System, Crash::default()).await.unwrap();
    let App { vault, store, .. } = region.app().clone();
    let moved = async {
        loop {
            let sealed = store.secret_get("bmc-own/1").await.unwrap().unwrap();
            if key_of(&sealed) == Some(2) {
                return sealed;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let sealed = tokio::time::timeout(Duration::from_secs(20), moved).await.expect("it is sealed anew");
    assert_eq!(vault.open_sealed("bmc-own/1", &sealed).unwrap().expose(), b"hunter2");
    region.stop_signal().cancel();
    region.run().await.unwrap();
}
