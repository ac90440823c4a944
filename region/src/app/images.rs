//! Images: names for sets of blobs.

use farrier_common::{
    hardware::{Architecture, Compression},
    id::ImageId,
    name::Name,
};

use super::{
    App,
    context::{Ask, Listed, Page, needs, noted},
};
use crate::{
    domain::{
        Error, Result,
        event::EventKind,
        image::{Blob, BlobRole, Image, ImageKind},
        user::{Role, User},
    },
    store::Once,
};

/// An image to make from blobs that were uploaded.
#[derive(Clone, Debug)]
pub struct NewImage {
    /// Unique, unless it replaces.
    pub name: Name,
    /// What for.
    pub kind: ImageKind,
    /// Of the machines it fits.
    pub architecture: Architecture,
    /// Its files.
    pub blobs: Vec<NewBlob>,
    /// Takes the name from the image that has it.
    pub replace: bool,
}

/// One file of an image to make.
#[derive(Clone, Debug)]
pub struct NewBlob {
    /// What it is.
    pub role: BlobRole,
    /// Which.
    pub sha256: String,
    /// How it is compressed.
    pub compression: Compression,
}

impl App {
    /// An image, by id or name.
    ///
    /// # Errors
    /// There is none.
    pub async fn image_get(&self, which: &str) -> Result<Image> {
        self.store.image_find(which).await?.ok_or_else(|| Error::not_found("image", which))
    }

    /// A page of the images.
    ///
    /// # Errors
    /// The page token is foreign.
    pub async fn image_list(&self, page: &Page) -> Result<Listed<Image>> {
        let items = self.store.image_list(page.after()?, page.size + 1).await?;
        Ok(page.cut(items, |i| i.id.to_string()))
    }

    /// May this person upload?
    ///
    /// # Errors
    /// Not an admin.
    pub fn may_upload(&self, user: &User) -> Result<()> {
        needs(user, Role::Admin, "upload blobs")
    }

    /// Names a set of uploaded blobs. The content of disks is unpacked once, to know what a machine must read back.
    ///
    /// # Errors
    /// Not an admin; the blobs are not those that the kind needs, are not there or are damaged; the name is taken.
    pub async fn image_create(&self, ask: &Ask<Image>, new: NewImage) -> Result<Once<Image>> {
        needs(&ask.user, Role::Admin, "make images")?;
        fits(&new)?;
        let mut blobs = Vec::with_capacity(new.blobs.len());
        for (place, blob) in new.blobs.iter().enumerate() {
            blobs.push(self.verified(place, blob).await?);
        }
        let image = Image {
            id: ImageId::generate(),
            name: new.name,
            kind: new.kind,
            architecture: new.architecture,
            blobs,
            created_at: self.clock.now(),
        };
        let agents = image.name == self.policy.ephemeral_image;
        let event =
            noted(EventKind::Image, ask.actor(), format!("image {} ({}) was made", image.name, image.architecture));
        let made = self.store.image_insert(Some(&ask.request), image, new.replace, event, ask.renderer()).await?;
        if agents {
            self.racks.request_sync_all();
        }
        Ok(made)
    }

    async fn verified(&self, place: usize, new: &NewBlob) -> Result<Blob> {
        let field = format!("blobs[{place}].sha256");
        let Some(size) = self.blobs.size(&new.sha256)? else {
            return Err(Error::invalid(field, format!("no blob {} was uploaded", new.sha256)));
        };
        let (content_sha256, content_size) = match new.compression {
            Compression::None => (new.sha256.clone(), size),
            Compression::Gzip | Compression::Zstd => {
                let content = self.blobs.content(&new.sha256, new.compression).await?;
                (content.sha256, content.size)
            }
        };
        Ok(Blob {
            role: new.role,
            sha256: new.sha256.clone(),
            size,
            compression: new.compression,
            content_sha256,
            content_size,
        })
    }
}

fn fits(new: &NewImage) -> Result<()> {
    let roles = Image::roles(new.kind);
    let given: Vec<_> = new.blobs.iter().map(|b| b.role).collect();
    if given.len() != roles.len() || !roles.iter().all(|r| given.contains(r)) {
        let wanted = roles.iter().map(|r| r.as_str()).collect::<Vec<_>>().join(" and ");
        return Err(Error::invalid("blobs", format!("an image of kind {} has exactly: {wanted}", new.kind)));
    }
    for (place, blob) in new.blobs.iter().enumerate() {
        if blob.role != BlobRole::Disk && blob.compression != Compression::None {
            let why = format!("a {} is served as it is, packed or not: say none", blob.role);
            return Err(Error::invalid(format!("blobs[{place}].compression"), why));
        }
    }
    Ok(())
}
