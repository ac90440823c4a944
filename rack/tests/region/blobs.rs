//! Fetching, resuming and verifying blobs.

use std::fs;

use farrier_common::{id::BootId, secret::sha256_hex};
use farrier_rack::{
    blobs::{BlobError, Blobs},
    boot::intent::BlobRef,
    gateway::{Gateway, GatewayError},
};
use tempfile::TempDir;
use tonic::Status;

use super::fake::Fake;

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect()
}

async fn start() -> (Fake, Blobs, TempDir, Gateway) {
    let (fake, dir) = (Fake::start().await, tempfile::tempdir().unwrap());
    let gateway = Gateway::new(&fake.address.to_string(), &fake.ca.rack()).unwrap();
    let blobs = Blobs::open(dir.path().join("blobs"), gateway.clone()).unwrap();
    (fake, blobs, dir, gateway)
}

#[tokio::test]
async fn a_broken_download_is_resumed_where_it_stopped() {
    let (fake, blobs, _dir, _) = start().await;
    let bytes = content(100_000);
    let blob = BlobRef { sha256: fake.hold(&bytes), size: 100_000 };
    fake.state().breaks = vec![20_000, 0, 30_000];
    let path = blobs.ensure(&blob).await.unwrap();
    assert_eq!(fs::read(path).unwrap(), bytes);
    assert_eq!(fake.state().downloads, [0, 30_000, 30_000, 50_000]);
    blobs.ensure(&blob).await.unwrap();
    assert_eq!(fake.state().downloads.len(), 4, "what is there is not fetched");
}

#[tokio::test]
async fn a_download_survives_a_restart_of_the_rack() {
    let (fake, blobs, dir, gateway) = start().await;
    let bytes = content(50_000);
    let blob = BlobRef { sha256: fake.hold(&bytes), size: 50_000 };
    fake.state().breaks = vec![0, 0, 0, 0, 0, 0, 12_000];
    let error = blobs.ensure(&blob).await.unwrap_err();
    assert!(matches!(error, BlobError::Fetch { source: GatewayError::Unavailable(_), .. }), "{error}");
    fake.state().breaks.clear();
    let again = Blobs::open(dir.path().join("blobs"), gateway).unwrap();
    again.ensure(&blob).await.unwrap();
    assert_eq!(fake.state().downloads.last(), Some(&12_000));
}

#[tokio::test]
async fn many_askers_share_one_download() {
    let (fake, blobs, _dir, _) = start().await;
    let blob = BlobRef { sha256: fake.hold(&content(30_000)), size: 30_000 };
    let askers = (0..20).map(|_| {
        let (blobs, blob) = (blobs.clone(), blob.clone());
        tokio::spawn(async move { blobs.ensure(&blob).await.unwrap() })
    });
    for asker in askers.collect::<Vec<_>>() {
        asker.await.unwrap();
    }
    assert_eq!(fake.state().downloads, [0]);
}

#[tokio::test]
async fn what_does_not_verify_is_not_kept() {
    let (fake, blobs, dir, _) = start().await;
    let bytes = content(5_000);
    let digest = sha256_hex(b"something else");
    fake.state().blobs.insert(digest.clone(), bytes.clone());
    let error = blobs.ensure(&BlobRef { sha256: digest, size: 5_000 }).await.unwrap_err();
    assert!(matches!(error, BlobError::Corrupt { .. }), "{error}");
    assert_eq!(fs::read_dir(dir.path().join("blobs")).unwrap().count(), 0);

    let good = fake.hold(&bytes);
    let error = blobs.ensure(&BlobRef { sha256: good.clone(), size: 4_999 }).await.unwrap_err();
    assert!(matches!(error, BlobError::Corrupt { .. }), "{error}");

    // A partial file that rotted on the disk is found out and fetched anew.
    fs::write(dir.path().join(format!("blobs/{good}.part")), vec![0; 3_000]).unwrap();
    fake.state().downloads.clear();
    blobs.ensure(&BlobRef { sha256: good, size: 5_000 }).await.unwrap();
    assert_eq!(fake.state().downloads, [3_000, 0]);
}

#[tokio::test]
async fn what_changed_on_the_racks_disk_is_fetched_anew_before_it_is_used() {
    let (fake, blobs, dir, gateway) = start().await;
    let bytes = content(5_000);
    let blob = BlobRef { sha256: fake.hold(&bytes), size: 5_000 };
    let path = blobs.ensure(&blob).await.unwrap();

    // Its end is lost while the rack runs.
    fs::write(&path, &bytes[..3_000]).unwrap();
    assert_eq!(fs::read(blobs.ensure(&blob).await.unwrap()).unwrap(), bytes);

    // It rots while the rack does not run.
    let mut rotten = bytes.clone();
    rotten[2_500] ^= 1;
    fs::write(&path, &rotten).unwrap();
    let again = Blobs::open(dir.path().join("blobs"), gateway.clone()).unwrap();
    assert_eq!(fs::read(again.ensure(&blob).await.unwrap()).unwrap(), bytes);
    assert_eq!(fake.state().downloads, [0, 0, 0]);

    let third = Blobs::open(dir.path().join("blobs"), gateway).unwrap();
    third.ensure(&blob).await.unwrap();
    assert_eq!(fake.state().downloads.len(), 3, "what is true is not fetched");
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let (fake, blobs, _dir, gateway) = start().await;
    let blob = |sha256: String| BlobRef { sha256, size: 1 };
    let error = blobs.ensure(&blob(sha256_hex(b"unknown"))).await.unwrap_err();
    assert!(matches!(error, BlobError::Fetch { source: GatewayError::NotFound(_), .. }), "{error}");
    let error = blobs.ensure(&blob("../../etc/passwd".into())).await.unwrap_err();
    assert!(matches!(error, BlobError::BadDigest(_)), "{error}");

    let (digest, boot) = (fake.hold(b"x"), BootId::generate());
    let ask = |session: &str| {
        let (gateway, digest, session) = (gateway.clone(), digest.clone(), session.to_owned().into());
        async move { gateway.authorize_blob(boot, &session, &digest).await }
    };
    assert_eq!(ask("session").await, Ok(blob(digest.clone())));
    assert!(matches!(ask("stolen").await, Err(GatewayError::Denied(_))));
    fake.state().failures = vec![Status::unavailable("a"), Status::unavailable("b")];
    assert_eq!(ask("session").await, Ok(blob(digest.clone())), "two failures are lived through");
    fake.state().failures = (0..3).map(|n| Status::unavailable(format!("failure {n}"))).collect();
    assert!(matches!(ask("session").await, Err(GatewayError::Unavailable(_))), "three are not");
}
