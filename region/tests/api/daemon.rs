//! The whole daemon, from its configuration.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use farrier_common::{clock::Clock, telemetry::Chain, tls};
use farrier_proto::v1::WhoAmIRequest;
use farrier_region::{config::Config, crash::Crash, region::Region};

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
