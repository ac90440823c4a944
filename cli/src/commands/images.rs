//! `farrier image`.

use std::{path::PathBuf, time::Duration};

use farrier_common::hardware::{Architecture, Compression};
use farrier_proto::{
    convert,
    v1::{
        Blob, BlobRole, CreateImageRequest, GetImageRequest, ImageKind, ListImagesRequest, images_client::ImagesClient,
    },
};

use super::{App, one_of};
use crate::{
    client::{Client, SHORT, options},
    error::Error,
    render::images as render,
    upload::{self, LocalBlob},
};

/// The region unpacks the whole content to learn its digest.
const CREATE: Duration = Duration::from_secs(30 * 60);

/// Images to deploy, and the ephemeral environment.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List images.
    List,
    /// Show an image.
    Show {
        /// Id or name.
        image: String,
    },
    /// Upload files and name them as an image.
    Create(CreateArgs),
}

/// An image and its files.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("files").args(["disk", "kernel"]).required(true))]
pub(crate) struct CreateArgs {
    /// Name, an RFC 1123 label.
    name: String,
    /// What it is: a whole disk, or kernel and initrd of the environment that the agent runs in.
    #[arg(long)]
    kind: KindWord,
    /// CPU architecture.
    #[arg(long, value_parser = one_of(Architecture::ALL.iter().map(|a| (*a, a.to_string()))))]
    arch: Architecture,
    /// Raw disk, perhaps compressed (for --kind disk).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kernel", "initrd"])]
    disk: Option<PathBuf>,
    /// Linux kernel (for --kind ephemeral).
    #[arg(long, value_name = "FILE", requires = "initrd")]
    kernel: Option<PathBuf>,
    /// Initial RAM disk, served as it is (for --kind ephemeral).
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// How the disk's file is compressed; auto looks at its first bytes.
    #[arg(long, default_value = "auto", requires = "disk")]
    compression: CompressionWord,
    /// Replace an image of this name.
    #[arg(long)]
    replace: bool,
}

/// A kind of image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum KindWord {
    /// A whole disk.
    Disk,
    /// Kernel and initrd.
    Ephemeral,
}

/// How a disk's file is compressed.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum CompressionWord {
    /// By the file's first bytes.
    Auto,
    /// As it is.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// Runs one of them.
pub(crate) async fn run(app: &App, command: Command) -> Result<(), Error> {
    match command {
        Command::List => list(app).await,
        Command::Show { image } => show(app, image).await,
        Command::Create(args) => create(app, args).await,
    }
}

async fn list(app: &App) -> Result<(), Error> {
    let client = app.client()?;
    let images = client
        .pages(async |page| {
            let request = ListImagesRequest { page: Some(page) };
            let list = client.call(SHORT, request, async |c, r| ImagesClient::new(c).list_images(r).await).await?;
            Ok((list.images, list.next_page_token))
        })
        .await?;
    app.out.answer(|| render::list_json(&images), || render::list_table(&images, app.out.width()))
}

async fn show(app: &App, image: String) -> Result<(), Error> {
    let request = GetImageRequest { image };
    let image = app.client()?.call(SHORT, request, async |c, r| ImagesClient::new(c).get_image(r).await).await?;
    app.out.answer(|| render::json(&image), || render::page(&image, app.clock.now(), app.out.width()))
}

async fn create(app: &App, args: CreateArgs) -> Result<(), Error> {
    let (kind, files) = parts(&args)?;
    let client = app.client()?;
    let mut blobs = Vec::new();
    for (role, path) in files {
        let local = upload::examine(app.out, &path)?;
        let compression = compression(role, args.compression, &local)?;
        blobs.push(send(app, &client, role, compression, &local).await?);
    }
    let request = CreateImageRequest {
        options: options(),
        name: args.name,
        kind: kind.into(),
        architecture: convert::architecture_to_wire(args.arch).into(),
        blobs,
        replace: args.replace,
    };
    let image = client.call(CREATE, request, async |c, r| ImagesClient::new(c).create_image(r).await).await?;
    app.out.answer(|| render::json(&image), || render::page(&image, app.clock.now(), app.out.width()))
}

/// The files that belong to the kind; anything else is a mistake of the caller.
fn parts(args: &CreateArgs) -> Result<(ImageKind, Vec<(BlobRole, PathBuf)>), Error> {
    match (args.kind, &args.disk, &args.kernel, &args.initrd) {
        (KindWord::Disk, Some(disk), None, None) => Ok((ImageKind::Disk, vec![(BlobRole::Disk, disk.clone())])),
        (KindWord::Ephemeral, None, Some(kernel), Some(initrd)) => {
            let files = vec![(BlobRole::Kernel, kernel.clone()), (BlobRole::Initrd, initrd.clone())];
            Ok((ImageKind::Ephemeral, files))
        }
        (KindWord::Disk, ..) => Err(Error::Usage("--kind disk is made from --disk FILE".to_owned())),
        (KindWord::Ephemeral, ..) => {
            Err(Error::Usage("--kind ephemeral is made from --kernel FILE and --initrd FILE".to_owned()))
        }
    }
}

/// Kernel and initrd are served as they are, whatever is inside; a disk is unpacked on the machine.
fn compression(role: BlobRole, asked: CompressionWord, blob: &LocalBlob) -> Result<Compression, Error> {
    if role != BlobRole::Disk {
        return Ok(Compression::None);
    }
    let found = blob.compression()?;
    match asked {
        CompressionWord::Auto => Ok(found),
        CompressionWord::None => Ok(Compression::None),
        CompressionWord::Gzip => Ok(Compression::Gzip),
        CompressionWord::Zstd => Ok(Compression::Zstd),
    }
}

async fn send(
    app: &App,
    client: &Client,
    role: BlobRole,
    compression: Compression,
    local: &LocalBlob,
) -> Result<Blob, Error> {
    let sent = upload::send(client, app.out, local).await?;
    // Fewer bytes than all were sent if the region had the content already.
    let (name, size) = (local.path.display(), local.size_bytes);
    app.out.note(&format!("{name}: the region has it, {sent} of {size} bytes were sent (sha256 {})", local.sha256));
    Ok(Blob {
        role: role.into(),
        sha256: local.sha256.clone(),
        size_bytes: local.size_bytes,
        compression: convert::compression_to_wire(compression).into(),
        ..Blob::default()
    })
}
