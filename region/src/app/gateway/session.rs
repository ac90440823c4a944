//! An agent's session: opened once with the token of the boot, proven with its own secret ever after.

use farrier_common::{
    id::{BootId, ImageId},
    secret::Secret,
};

use super::{Identity, boot_id};
use crate::{
    app::App,
    crash::Point,
    domain::{
        Error, Result,
        advance::Change,
        image::{Blob, BlobRole},
        lifecycle::{Class, State},
        machine::Machine,
        rack::Rack,
        rescue::keeps_running,
    },
    racks::{boot_token, phone_home_token},
    store::{BootRow, Extra, Hello, MachineView},
};

/// A session that was proven.
#[derive(Debug)]
pub(super) struct Session {
    /// The boot that it is of.
    pub(super) boot: BootRow,
    /// The machine that booted.
    pub(super) view: MachineView,
}

impl Session {
    /// Is there still work to do in this boot?
    pub(super) fn current(&self) -> bool {
        in_progress(&self.view.machine, self.boot.id)
    }
}

fn in_progress(m: &Machine, boot: BootId) -> bool {
    (m.state.class() == Class::Working || keeps_running(m)) && m.details.boot == Some(boot)
}

impl App {
    /// Opens the session of a boot; answers the machine and what the boot is for. A machine that started anew in the
    /// middle of its boot comes with a spent token: it is refused, and the engine gives it a fresh boot.
    ///
    /// # Errors
    /// The boot is not in progress on one of the rack's machines, the token is wrong, or another session has used it.
    pub async fn hello(
        &self,
        rack: &Rack,
        boot: &str,
        token: &Secret<String>,
        session: &Secret<String>,
        who: &Identity,
    ) -> Result<(MachineView, State)> {
        let boot = boot_id(boot)?;
        let (row, view) = self.boot_of(rack, boot).await?;
        // The token first: whoever lacks it learns nothing of the boot.
        if !token.has_digest(&boot_token(&self.vault, boot).digest()) {
            return Err(Error::Denied("the boot token is wrong".to_owned()));
        }
        if !in_progress(&view.machine, boot) {
            return Err(Error::Denied(format!(
                "boot {boot} is over; machine {} is {}",
                view.machine.name, view.machine.state
            )));
        }
        if !(32..=128).contains(&session.expose().len()) {
            return Err(Error::invalid("request.session", "must be 32 to 128 characters"));
        }
        let state = view.machine.state.as_str();
        self.crash.at(Point::HelloReceived, state);
        match self.store.boot_hello(boot, &session.digest()).await? {
            Hello::First => {
                self.crash.at(Point::HelloCommitted, state);
                self.learn(&view, who).await;
            }
            Hello::Again => {}
            Hello::Taken => return Err(Error::Denied("the boot token was used by another session".to_owned())),
        }
        Ok((view, row.purpose))
    }

    /// Checks an agent's session.
    pub(super) async fn session(&self, rack: &Rack, boot: &str, session: &Secret<String>) -> Result<Session> {
        let (boot, view) = self.boot_of(rack, boot_id(boot)?).await?;
        let known = boot.session_digest.as_deref().is_some_and(|digest| session.has_digest(digest));
        if !known {
            return Err(Error::Denied("the session is not that of the boot".to_owned()));
        }
        Ok(Session { boot, view })
    }

    /// The blob, if the session may read it: the image that its machine is deployed with.
    ///
    /// # Errors
    /// It may not.
    pub async fn authorize_blob(
        &self,
        rack: &Rack,
        boot: &str,
        session: &Secret<String>,
        sha256: &str,
    ) -> Result<Blob> {
        let session = self.session(rack, boot, session).await?;
        let denied = || Error::Denied("the session has no task that needs this blob".to_owned());
        if !session.current() || session.view.machine.state != State::Deploying {
            return Err(denied());
        }
        let blob = self.disk_image(&session.view.machine).await?.filter(|b| b.sha256 == sha256);
        blob.ok_or_else(denied)
    }

    /// Notes that the installed system of a boot is up. Repeating it changes nothing.
    ///
    /// # Errors
    /// The token is wrong, or nobody waits for that system.
    pub async fn phone_home(&self, rack: &Rack, boot: &str, token: &Secret<String>) -> Result<()> {
        let boot = boot_id(boot)?;
        let (row, view) = self.boot_of(rack, boot).await?;
        if !token.has_digest(&phone_home_token(&self.vault, boot).digest()) {
            return Err(Error::Denied("the phone-home token is wrong".to_owned()));
        }
        if row.phoned_home_at.is_some() {
            return Ok(());
        }
        let m = &view.machine;
        if m.details.boot != Some(boot) || m.state != State::Deploying {
            return Err(Error::Precondition(format!(
                "nobody waits for boot {boot}: machine {} is {}",
                m.name, m.state
            )));
        }
        self.crash.at(Point::PhoneHomeReceived, m.state.as_str());
        self.store.boot_phoned_home(boot).await?;
        self.crash.at(Point::PhoneHomeCommitted, m.state.as_str());
        Ok(())
    }

    /// The blob of the image that a machine is deployed with; `None` if the image is gone.
    pub(super) async fn disk_image(&self, m: &Machine) -> Result<Option<Blob>> {
        let Some(deployment) = &m.details.deployment else { return Ok(None) };
        let Ok(id) = deployment.image_id.parse::<ImageId>() else { return Ok(None) };
        Ok(self.store.image_get(id).await?.and_then(|image| image.blob(BlobRole::Disk).cloned()))
    }

    /// A boot of a machine of this rack.
    async fn boot_of(&self, rack: &Rack, boot: BootId) -> Result<(BootRow, MachineView)> {
        let missing = || Error::not_found("boot", boot);
        let row = self.store.boot_get(boot).await?.ok_or_else(missing)?;
        let view = self.store.machine_get(row.machine).await?.ok_or_else(missing)?;
        if view.machine.rack == Some(rack.id) { Ok((row, view)) } else { Err(missing()) }
    }

    /// Takes over how the machine boots. Not vital: if the engine writes at the same time, the next boot tells again.
    async fn learn(&self, view: &MachineView, who: &Identity) {
        if who.firmware.is_none() || who.firmware == view.machine.firmware {
            return;
        }
        let mut machine = view.machine.clone();
        machine.firmware = who.firmware;
        let change = Change::of(machine);
        let learnt =
            self.store.machine_apply(None, change, view.machine.version, Extra::default(), |_| Vec::new()).await;
        if let Err(e) = learnt {
            tracing::info!(machine.id = %view.machine.id, error = %e, "the firmware was not noted this time");
        }
    }
}
