//! `farrier.v1.Images`.

use std::time::Duration;

use farrier_proto::{
    convert,
    v1::{self, images_server::Images, upload_blob_request::Part},
};
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use super::{
    Api,
    calls::{Answer, LONG},
    parse,
    words::{blob_role_from_wire, blob_role_to_wire, kind_from_wire, kind_to_wire, time_to_wire},
};
use crate::{
    app::{
        blobs::{Begun, Upload},
        images::{NewBlob, NewImage},
    },
    domain::{
        Error, Result,
        image::{Blob, Image},
    },
};

const MOST_CHUNK: usize = 1 << 20;
/// An upload that is silent for so long is given up.
const SILENCE: Duration = Duration::from_secs(60);

#[tonic::async_trait]
impl Images for Api {
    async fn get_image(&self, request: Request<v1::GetImageRequest>) -> Answer<v1::Image> {
        self.read(request, |app, _, q| async move { Ok(render(&app.image_get(&q.image).await?)) }).await
    }

    async fn list_images(&self, request: Request<v1::ListImagesRequest>) -> Answer<v1::ListImagesResponse> {
        self.read(request, |app, _, q| async move {
            let listed = app.image_list(&parse::page(q.page)?).await?;
            let next_page_token = parse::next_token(&listed);
            Ok(v1::ListImagesResponse { images: listed.items.iter().map(render).collect(), next_page_token })
        })
        .await
    }

    async fn upload_blob(&self, request: Request<Streaming<v1::UploadBlobRequest>>) -> Answer<v1::UploadBlobResponse> {
        let (meta, _, mut parts) = request.into_parts();
        self.app.may_upload(&self.user(&meta).await?)?;
        let header = header(part(&mut parts).await?)?;
        match self.app.blobs.begin(&header.sha256, header.size_bytes).await? {
            Begun::There => {}
            Begun::Upload(upload) => take(upload, &mut parts).await?,
        }
        Ok(Response::new(v1::UploadBlobResponse { sha256: header.sha256, size_bytes: header.size_bytes }))
    }

    async fn create_image(&self, request: Request<v1::CreateImageRequest>) -> Answer<v1::Image> {
        self.mutate(("CreateImage", LONG), request, render, |app, ask, q| async move {
            app.image_create(&ask, new(q)?).await
        })
        .await
    }
}

async fn take(
    mut upload: Box<Upload>,
    parts: &mut Streaming<v1::UploadBlobRequest>,
) -> std::result::Result<(), Status> {
    while let Some(part) = part(parts).await? {
        upload.write(chunk(part)?).await?;
    }
    Ok(upload.finish().await?)
}

async fn part(parts: &mut Streaming<v1::UploadBlobRequest>) -> std::result::Result<Option<Part>, Status> {
    let silent = |_| Error::Unavailable(format!("the upload was silent for {} s", SILENCE.as_secs()));
    let message = timeout(SILENCE, parts.message()).await.map_err(silent)??;
    let empty = || Error::invalid("part", "must be a header or a chunk");
    message.map(|m| m.part.ok_or_else(empty)).transpose().map_err(Into::into)
}

fn header(part: Option<Part>) -> Result<v1::BlobHeader> {
    match part {
        Some(Part::Header(header)) => Ok(header),
        Some(Part::Chunk(_)) | None => Err(Error::invalid("header", "must be the first message")),
    }
}

fn chunk(part: Part) -> Result<Vec<u8>> {
    match part {
        Part::Chunk(chunk) if chunk.len() <= MOST_CHUNK => Ok(chunk),
        Part::Chunk(_) => Err(Error::invalid("chunk", format!("has at most {MOST_CHUNK} bytes"))),
        Part::Header(_) => Err(Error::invalid("header", "comes once, first")),
    }
}

fn new(q: v1::CreateImageRequest) -> Result<NewImage> {
    let blobs = q.blobs.into_iter().enumerate().map(|(place, blob)| {
        Ok(NewBlob {
            role: blob_role_from_wire(&format!("blobs[{place}].role"), blob.role)?,
            compression: parse::compression(&format!("blobs[{place}].compression"), blob.compression)?,
            sha256: blob.sha256,
        })
    });
    Ok(NewImage {
        blobs: blobs.collect::<Result<_>>()?,
        name: parse::name("name", &q.name)?,
        kind: kind_from_wire("kind", q.kind)?,
        architecture: parse::architecture("architecture", q.architecture)?,
        replace: q.replace,
    })
}

fn render(image: &Image) -> v1::Image {
    v1::Image {
        id: image.id.to_string(),
        name: image.name.to_string(),
        kind: kind_to_wire(image.kind).into(),
        architecture: convert::architecture_to_wire(image.architecture).into(),
        blobs: image.blobs.iter().map(blob).collect(),
        created_at: Some(time_to_wire(image.created_at)),
        // An image that is replaced gets a new id; under its id it does not change.
        etag: "1".to_owned(),
    }
}

/// A blob, as agents and operators see it.
pub(super) fn blob(blob: &Blob) -> v1::Blob {
    v1::Blob {
        role: blob_role_to_wire(blob.role).into(),
        sha256: blob.sha256.clone(),
        size_bytes: blob.size,
        compression: convert::compression_to_wire(blob.compression).into(),
        content_sha256: blob.content_sha256.clone(),
        content_size_bytes: blob.content_size,
    }
}
