//! Images. One that is replaced keeps its id and its blobs: deployments in progress refer to it.

use std::collections::BTreeMap;

use chrono::NaiveDateTime;
use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _, SelectableHelper as _, dsl,
    prelude::{Insertable, Queryable, Selectable},
};
use farrier_common::id::ImageId;

use crate::domain::{
    Error, Result,
    event::NewEvent,
    image::{Blob, Image},
};

use super::{
    Once, Request, Store, Tx,
    convert::{limit as rows, naive, parse, signed, unsigned, utc},
    error::{Outcome, StoreError, unique},
    schema::{image_blobs, images},
};

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = images)]
struct Row {
    id: String,
    name: String,
    kind: String,
    architecture: String,
    created_at: NaiveDateTime,
}

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = image_blobs)]
struct BlobRow {
    image: String,
    role: String,
    sha256: String,
    size: i64,
    compression: String,
    content_sha256: String,
    content_size: i64,
}

impl TryFrom<(Row, Vec<Blob>)> for Image {
    type Error = StoreError;

    fn try_from((row, blobs): (Row, Vec<Blob>)) -> Outcome<Self> {
        Ok(Self {
            id: parse("images.id", &row.id)?,
            name: parse("images.name", &row.name)?,
            kind: parse("images.kind", &row.kind)?,
            architecture: parse("images.architecture", &row.architecture)?,
            blobs,
            created_at: utc(row.created_at),
        })
    }
}

impl TryFrom<BlobRow> for Blob {
    type Error = StoreError;

    fn try_from(row: BlobRow) -> Outcome<Self> {
        Ok(Self {
            role: parse("image_blobs.role", &row.role)?,
            sha256: row.sha256,
            size: unsigned("image_blobs.size", row.size)?,
            compression: parse("image_blobs.compression", &row.compression)?,
            content_sha256: row.content_sha256,
            content_size: unsigned("image_blobs.content_size", row.content_size)?,
        })
    }
}

impl Store {
    /// Adds an image. `replace`: it takes the name from the one that has it.
    ///
    /// # Errors
    /// The name is taken and may not be replaced.
    pub async fn image_insert<R>(
        &self,
        request: Option<&Request>,
        image: Image,
        replace: bool,
        event: NewEvent,
        render: R,
    ) -> Result<Once<Image>>
    where
        R: FnOnce(&Image) -> Vec<u8> + Send + 'static,
    {
        self.once(request, render, move |tx| {
            if replace {
                let current =
                    images::table.filter(images::name.eq(image.name.as_str())).filter(images::replaced_at.is_null());
                diesel::update(current).set(images::replaced_at.eq(naive(tx.now))).execute(tx.conn)?;
            }
            insert(tx, &image)?;
            tx.log(event);
            Ok(image)
        })
        .await
    }

    /// The image of that id, also if it was replaced.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn image_get(&self, id: ImageId) -> Result<Option<Image>> {
        self.read(move |tx| get(tx, id)).await
    }

    /// The image of that id (also if it was replaced) or name.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn image_find(&self, id_or_name: &str) -> Result<Option<Image>> {
        let text = id_or_name.to_owned();
        self.read(move |tx| {
            if let Ok(id) = text.parse()
                && let Some(found) = get(tx, id)?
            {
                return Ok(Some(found));
            }
            let named = images::table.filter(images::name.eq(text)).filter(images::replaced_at.is_null());
            let row = named.select(Row::as_select()).first(tx.conn).optional()?;
            Ok(with_blobs(tx, row.into_iter().collect())?.pop())
        })
        .await
    }

    /// A page of images in order of id, without those that were replaced.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn image_list(&self, after: Option<ImageId>, limit: usize) -> Result<Vec<Image>> {
        self.read(move |tx| {
            let current = images::table.filter(images::replaced_at.is_null());
            let mut page = current.order(images::id.asc()).limit(rows(limit)).into_boxed();
            if let Some(after) = after {
                page = page.filter(images::id.gt(after.to_string()));
            }
            let found = page.select(Row::as_select()).load(tx.conn)?;
            with_blobs(tx, found)
        })
        .await
    }

    /// Is the file part of an image?
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn blob_known(&self, sha256: &str) -> Result<bool> {
        let sha256 = sha256.to_owned();
        self.read(move |tx| {
            let of = image_blobs::table.filter(image_blobs::sha256.eq(sha256));
            Ok(diesel::select(dsl::exists(of)).get_result(tx.conn)?)
        })
        .await
    }
}

fn get(tx: &mut Tx<'_>, id: ImageId) -> Outcome<Option<Image>> {
    let row = images::table.find(id.to_string()).select(Row::as_select()).first(tx.conn).optional()?;
    Ok(with_blobs(tx, row.into_iter().collect())?.pop())
}

fn insert(tx: &mut Tx<'_>, image: &Image) -> Outcome<()> {
    let row = Row {
        id: image.id.to_string(),
        name: image.name.to_string(),
        kind: image.kind.to_string(),
        architecture: image.architecture.to_string(),
        created_at: naive(image.created_at),
    };
    unique(diesel::insert_into(images::table).values(row).execute(tx.conn), "image", &image.name)?;
    for blob in &image.blobs {
        let row = BlobRow {
            image: image.id.to_string(),
            role: blob.role.to_string(),
            sha256: blob.sha256.clone(),
            size: signed(blob.size),
            compression: blob.compression.to_string(),
            content_sha256: blob.content_sha256.clone(),
            content_size: signed(blob.content_size),
        };
        let inserted = diesel::insert_into(image_blobs::table).values(row).execute(tx.conn);
        unique(inserted, "blob of role", &blob.role).map_err(|e| twice(e, image))?;
    }
    Ok(())
}

/// Two blobs of one role are the caller's fault, not somebody else's name.
fn twice(e: StoreError, image: &Image) -> StoreError {
    match e {
        StoreError::Refused(Error::Exists { name, .. }) => {
            Error::invalid("blobs", format!("image {} has more than one {name}", image.name)).into()
        }
        other @ (StoreError::Refused(_) | StoreError::Database(_) | StoreError::Corrupt { .. }) => other,
    }
}

fn with_blobs(tx: &mut Tx<'_>, found: Vec<Row>) -> Outcome<Vec<Image>> {
    let ids: Vec<&str> = found.iter().map(|row| row.id.as_str()).collect();
    let blobs: Vec<BlobRow> = image_blobs::table
        .filter(image_blobs::image.eq_any(ids))
        .order((image_blobs::image.asc(), image_blobs::role.asc()))
        .select(BlobRow::as_select())
        .load(tx.conn)?;
    let mut of: BTreeMap<String, Vec<Blob>> = BTreeMap::new();
    for blob in blobs {
        of.entry(blob.image.clone()).or_default().push(blob.try_into()?);
    }
    found
        .into_iter()
        .map(|row| {
            let blobs = of.remove(&row.id).unwrap_or_default();
            (row, blobs).try_into()
        })
        .collect()
}
