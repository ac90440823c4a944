//! Uploads.

use farrier_common::secret::sha256_hex;
use farrier_proto::v1::{BlobRole, Compression};
use tonic::Status;

use crate::fake::Fake;

/// Three and a bit chunks that start like a zstd file.
fn disk() -> Vec<u8> {
    let mut content = vec![0x28, 0xb5, 0x2f, 0xfd];
    content.extend((0..1_700_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]));
    content
}

async fn create(fake: &Fake, path: &str) -> crate::fake::Ran {
    fake.run(&["image", "create", "debian-13", "--kind", "disk", "--arch", "amd64", "--disk", path, "--replace"]).await
}

#[tokio::test]
async fn a_disk_is_uploaded_once_and_its_compression_found() {
    let fake = Fake::start().await;
    let path = fake.file("disk.zst", &disk());
    let ran = create(&fake, &path).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("1700004 of 1700004 bytes were sent"), "{}", ran.stderr);
    let request = fake.script(|s| s.image.take()).unwrap();
    assert_eq!(request.blobs.len(), 1);
    let blob = &request.blobs[0];
    assert_eq!((blob.role(), blob.compression()), (BlobRole::Disk, Compression::Zstd));
    assert_eq!(blob.sha256, sha256_hex(&disk()));
    assert!(request.replace);

    let ran = create(&fake, &path).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    // How much was under way when the region said that it has it all is a matter of luck.
    assert!(ran.stderr.contains("the region has it"), "{}", ran.stderr);
    assert_eq!(fake.script(|s| s.uploaded_bytes), disk().len());
}

#[tokio::test]
async fn an_upload_that_breaks_is_made_again() {
    let fake = Fake::start().await;
    fake.script(|s| s.refusals = [None, Some(Status::unavailable("restart"))].into());
    let path = fake.file("disk.zst", &disk());
    let ran = create(&fake, &path).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("trying again"), "{}", ran.stderr);
}

#[tokio::test]
async fn kernel_and_initrd_are_served_as_they_are() {
    let fake = Fake::start().await;
    let (kernel, initrd) = (fake.file("vmlinuz", b"MZ kernel"), fake.file("initrd", b"\x1f\x8b\x08 initrd"));
    let args = ["image", "create", "eph", "--kind", "ephemeral", "--arch", "amd64"];
    let ran = fake.run(&[&args[..], &["--kernel", &kernel, "--initrd", &initrd]].concat()).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let blobs = fake.script(|s| s.image.take()).unwrap().blobs;
    let seen: Vec<_> = blobs.iter().map(|b| (b.role(), b.compression())).collect();
    assert_eq!(seen, [(BlobRole::Kernel, Compression::None), (BlobRole::Initrd, Compression::None)]);
}

#[tokio::test]
async fn files_that_do_not_fit_the_kind_are_a_mistake() {
    let fake = Fake::start().await;
    let disk = fake.file("disk", b"QFI\xfb and so on");
    let args = ["image", "create", "x", "--arch", "amd64", "--kind"];
    for more in
        [&["disk"][..], &["ephemeral", "--disk", &disk], &["disk", "--kernel", &disk], &["disk", "--disk", &disk]]
    {
        let ran = fake.run(&[&args[..], more].concat()).await;
        assert_eq!(ran.code, 2, "{more:?} {ran:?}");
    }
    assert!(fake.script(|s| s.image.is_none() && s.blobs.is_empty()));
}
