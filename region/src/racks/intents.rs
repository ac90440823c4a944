//! What a rack is told about one machine, made from the machine's row alone.

use chrono::TimeDelta;
use farrier_common::{clock::Timestamp, hardware::Architecture, id::BootId, secret::Secret};
use farrier_proto::rack::{self, boot_intent::Target};

use super::{Inner, Racks, dial::trouble, permanent, transient};
use crate::{
    domain::{
        image::{BlobRole, Image, ImageKind},
        machine::{BootTarget, Machine},
        observation::Trouble,
    },
    vault::Vault,
};

impl Racks {
    /// Makes the machine's rack hold the intent that its row implies.
    ///
    /// # Errors
    /// The rack does not answer or wants a snapshot first, or there is no ephemeral image to boot.
    pub async fn put_intent(&self, m: &Machine) -> Result<(), Trouble> {
        let rack = m.rack.ok_or_else(|| transient("no rack serves this machine yet"))?;
        let told = self.inner.told(rack);
        let snapshot = told.lock().await;
        let Some(snapshot_id) = snapshot.clone() else {
            self.request_sync(rack);
            return Err(transient("the rack has yet to take over all intents"));
        };
        let intent = self.inner.intent(m).await?;
        let request = rack::PutIntentRequest { intent: Some(intent), snapshot_id };
        let mut client = self.inner.client(rack).await?;
        match client.put_intent(request).await {
            Ok(_) => Ok(()),
            Err(s) => {
                if s.code() == tonic::Code::FailedPrecondition {
                    self.request_sync(rack);
                }
                Err(trouble(&s))
            }
        }
    }
}

impl Racks {
    /// Makes the machine's rack forget it: its intent, and with that its address.
    ///
    /// # Errors
    /// The rack does not answer; it forgets the machine with the next snapshot then.
    pub async fn forget(&self, m: &Machine) -> Result<(), Trouble> {
        let Some(rack) = m.rack else { return Ok(()) };
        let told = self.inner.told(rack);
        let _in_order = told.lock().await;
        let mut client = self.inner.client(rack).await?;
        let request = rack::RemoveIntentRequest { machine_id: m.id.to_string() };
        client.remove_intent(request).await.map(drop).map_err(|s| trouble(&s))
    }
}

impl Inner {
    /// The intent of a machine.
    pub(super) async fn intent(&self, m: &Machine) -> Result<rack::BootIntent, Trouble> {
        let target = match m.boot_target() {
            BootTarget::LocalDisk => Target::LocalDisk(rack::LocalDisk::default()),
            BootTarget::InstalledOs(boot) => Target::LocalDisk(rack::LocalDisk {
                boot_id: boot.to_string(),
                phone_home_sha256: phone_home_token(&self.vault, boot).digest(),
            }),
            BootTarget::Ephemeral(boot) => Target::Ephemeral(rack::Ephemeral {
                boot_id: boot.to_string(),
                token: boot_token(&self.vault, boot).expose().clone(),
                purpose: m.state.to_string(),
                image: Some(self.ephemeral(m.architecture).await?),
                expires_unix: expires(m).timestamp(),
            }),
        };
        Ok(rack::BootIntent {
            machine_id: m.id.to_string(),
            machine_name: m.name.to_string(),
            version: m.version,
            interfaces: m
                .interfaces
                .iter()
                .map(|i| rack::IntentInterface {
                    mac: i.mac.to_string(),
                    address: i.address.map_or_else(String::new, |a| a.to_string()),
                })
                .collect(),
            target: Some(target),
        })
    }

    /// The image that the agent runs in.
    pub(super) async fn ephemeral(&self, architecture: Architecture) -> Result<rack::EphemeralImage, Trouble> {
        let name = &self.ephemeral_image;
        let found = self.store.image_find(name.as_str()).await.map_err(|e| transient(e.to_string()))?;
        let image = found.ok_or_else(|| transient(format!("there is no image {name:?} to boot: upload one")))?;
        if image.kind != ImageKind::Ephemeral || image.architecture != architecture {
            return Err(permanent(format!("image {name} is not an ephemeral image for {architecture}")));
        }
        Ok(rack::EphemeralImage {
            kernel: blob(&image, BlobRole::Kernel),
            initrd: blob(&image, BlobRole::Initrd),
            extra_cmdline: String::new(),
        })
    }
}

/// Nothing destructive starts from a stale intent. Rescue has no end of its own, and in it nothing starts at all: an agent
/// that comes with the spent token is refused.
fn expires(m: &Machine) -> Timestamp {
    const RESCUE: TimeDelta = TimeDelta::days(3650);
    m.deadline.unwrap_or(m.since + RESCUE)
}

fn blob(image: &Image, role: BlobRole) -> Option<rack::BlobRef> {
    image.blob(role).map(|b| rack::BlobRef { sha256: b.sha256.clone(), size_bytes: b.size })
}

/// The one-time token of a boot: derived, so that it need not be kept.
#[must_use]
pub fn boot_token(vault: &Vault, boot: BootId) -> Secret<String> {
    vault.derive(&format!("boot-token/{boot}"))
}

/// The token with which the system installed in a boot phones home.
#[must_use]
pub fn phone_home_token(vault: &Vault, boot: BootId) -> Secret<String> {
    vault.derive(&format!("phone-home/{boot}"))
}
