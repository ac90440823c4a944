//! Images, and deploying them.

use farrier_common::secret::sha256_hex;
use farrier_proto::v1::{self, BlobRole, Compression, ImageKind, MachineState, Role, upload_blob_request::Part};
use farrier_region::domain::{
    lifecycle::Event,
    machine::{Disk, Hardware},
};
use tonic::{Code, Response, Status};

use crate::site::{Machines, Site, by, options, refused};

type Images = v1::images_client::ImagesClient<tonic::transport::Channel>;

async fn upload(
    site: &Site,
    token: &str,
    announced: &str,
    bytes: &[u8],
) -> Result<Response<v1::UploadBlobResponse>, Status> {
    let header = v1::BlobHeader { sha256: announced.to_owned(), size_bytes: bytes.len() as u64 };
    let mut parts = vec![Part::Header(header)];
    parts.extend(bytes.chunks(1 << 20).map(|c| Part::Chunk(c.to_vec())));
    let messages = parts.into_iter().map(|part| v1::UploadBlobRequest { part: Some(part) });
    Images::new(site.channel.clone()).upload_blob(by(token, tokio_stream::iter(messages.collect::<Vec<_>>()))).await
}

/// A disk image of 3 MB, compressed.
pub(crate) async fn disk_image(site: &Site, name: &str) -> v1::Image {
    let plain = b"sector".repeat(500_000);
    let packed = zstd::encode_all(plain.as_slice(), 1).unwrap();
    let sha256 = sha256_hex(&packed);
    upload(site, &site.admin, &sha256, &packed).await.unwrap();
    let made =
        Images::new(site.channel.clone()).create_image(by(&site.admin, new(name, &sha256))).await.unwrap().into_inner();
    let blob = &made.blobs[0];
    assert_eq!((blob.content_sha256.as_str(), blob.content_size_bytes), (sha256_hex(&plain).as_str(), 3_000_000));
    assert_eq!(blob.size_bytes, packed.len() as u64);
    made
}

fn new(name: &str, sha256: &str) -> v1::CreateImageRequest {
    let blob = v1::Blob {
        role: BlobRole::Disk.into(),
        sha256: sha256.to_owned(),
        compression: Compression::Zstd.into(),
        ..Default::default()
    };
    v1::CreateImageRequest {
        options: options(),
        name: name.to_owned(),
        kind: ImageKind::Disk.into(),
        architecture: v1::Architecture::Amd64.into(),
        blobs: vec![blob],
        replace: false,
    }
}

/// A machine that `owner` holds, with one disk of 4 MB.
pub(crate) async fn allocated(site: &Site, name: &str, last: u8, owner: &str) {
    site.machine(name, last).await;
    site.engine(name, Some(Event::Done), |change| {
        let disk = Disk { name: "vda".into(), serial: "disk-1".into(), size_bytes: 4_000_000, ..Disk::default() };
        change.machine.details.hardware = Some(Hardware { disks: vec![disk], ..Hardware::default() });
    })
    .await;
    let request = v1::AllocateMachineRequest { options: options(), machine: name.to_owned(), ..Default::default() };
    Machines::new(site.channel.clone()).allocate_machine(by(owner, request)).await.unwrap();
}

#[tokio::test]
async fn blobs_are_verified_and_images_are_made_of_them() {
    let site = Site::start().await;
    let ulf = site.user("ulf", Role::User).await;
    let bytes = b"kernel".repeat(1000);
    let sha256 = sha256_hex(&bytes);
    refused(upload(&site, &ulf, &sha256, &bytes).await, Code::PermissionDenied);
    refused(upload(&site, &site.admin, &sha256_hex(b"other"), &bytes).await, Code::InvalidArgument);
    refused(upload(&site, &site.admin, "nonsense", &bytes).await, Code::InvalidArgument);
    let first = upload(&site, &site.admin, &sha256, &bytes).await.unwrap().into_inner();
    assert_eq!(upload(&site, &site.admin, &sha256, &bytes).await.unwrap().into_inner(), first);

    let image = disk_image(&site, "debian").await;
    let mut images = Images::new(site.channel.clone());
    let taken = new("debian", &image.blobs[0].sha256);
    refused(images.create_image(by(&site.admin, taken.clone())).await, Code::AlreadyExists);
    let replaced = v1::CreateImageRequest { options: options(), replace: true, ..taken.clone() };
    let replaced = images.create_image(by(&site.admin, replaced)).await.unwrap().into_inner();
    assert_ne!(replaced.id, image.id);
    let listed = images.list_images(by(&ulf, v1::ListImagesRequest { page: None })).await.unwrap().into_inner();
    assert_eq!(listed.images, [replaced]);

    type Spoil = fn(&mut v1::CreateImageRequest);
    let spoiled: [(&str, Spoil); 6] = [
        ("blobs[0].sha256", |q| q.blobs[0].sha256 = "0".repeat(64)),
        ("sha256", |q| q.blobs[0].sha256 = "../../secrets.key".to_owned()),
        ("blobs", |q| q.blobs.clear()),
        ("blobs", |q| q.kind = ImageKind::Ephemeral.into()),
        ("blobs.compression", |q| q.blobs[0].compression = Compression::Gzip.into()),
        ("name", |q| q.name = "No Name".to_owned()),
    ];
    for (field, spoil) in spoiled {
        let mut bad = v1::CreateImageRequest { options: options(), ..new("other", &image.blobs[0].sha256) };
        spoil(&mut bad);
        let status = refused(images.create_image(by(&site.admin, bad)).await, Code::InvalidArgument);
        assert!(status.message().starts_with(&format!("{field}: ")), "{field}: {status:?}");
    }
}

#[tokio::test]
async fn a_deployment_must_fit_and_its_user_data_is_sealed() {
    let site = Site::start().await;
    site.rack("r1").await;
    site.subnet("r1", 1).await;
    disk_image(&site, "debian").await;
    let ulf = site.user("ulf", Role::User).await;
    allocated(&site, "m1", 2, &ulf).await;
    let mut machines = Machines::new(site.channel.clone());
    let deploy = |user_data: &[u8], image: &str, serial: &str| v1::DeployMachineRequest {
        options: options(),
        machine: "m1".to_owned(),
        image: image.to_owned(),
        user_data: user_data.to_vec(),
        disk_serial: serial.to_owned(),
    };
    let phones = b"#cloud-config\nphone_home:\n  url: http://elsewhere/\n";
    let status = refused(machines.deploy_machine(by(&ulf, deploy(phones, "debian", ""))).await, Code::InvalidArgument);
    assert!(status.message().starts_with("user_data: has a top-level phone_home key"), "{status:?}");
    let status =
        refused(machines.deploy_machine(by(&ulf, deploy(b"", "debian", "disk-2"))).await, Code::InvalidArgument);
    assert!(status.message().contains("it has: disk-1 (vda)"), "{status:?}");
    refused(machines.deploy_machine(by(&ulf, deploy(b"", "ubuntu", ""))).await, Code::NotFound);
    refused(
        machines.deploy_machine(by(&ulf, deploy(&vec![b'#'; (1 << 20) + 1], "debian", ""))).await,
        Code::InvalidArgument,
    );

    let secret = b"#cloud-config\npassword: correct-horse\n";
    let deployed = machines.deploy_machine(by(&ulf, deploy(secret, "debian", "disk-1"))).await.unwrap().into_inner();
    assert_eq!(deployed.status.unwrap().state(), MachineState::Deploying);
    assert_eq!(deployed.intent.unwrap().image, "debian");
    assert!(!site.database().windows(13).any(|w| w == b"correct-horse"), "user data is kept sealed");
    let purpose = format!("user-data/{}", site.id_of("m1").await);
    assert!(site.app.store.secret_get(&purpose).await.unwrap().is_some());
    site.engine("m1", Some(Event::Fail), |_| {}).await;
    let release = v1::ReleaseMachineRequest { options: options(), machine: "m1".to_owned(), ..Default::default() };
    machines.release_machine(by(&ulf, release)).await.unwrap();
    assert!(site.app.store.secret_get(&purpose).await.unwrap().is_none(), "released, it is forgotten");
}
