//! Deploy: what is checked before a machine is handed to the engine.

use farrier_common::secret::Secret;

use super::{
    super::{App, context::Ask},
    user_data,
};
use crate::{
    domain::{
        Error, Result,
        image::{BlobRole, Image, ImageKind},
        lifecycle::Event,
        machine::{Deployment, Disk, Machine},
        verbs as rules,
    },
    store::{Extra, MachineView, Once},
};

/// What is to be installed.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Id or name of the image.
    pub image: String,
    /// For cloud-init.
    pub user_data: Secret<Vec<u8>>,
    /// Which disk; `None`: the smallest that holds the image.
    pub disk_serial: Option<String>,
}

impl App {
    /// Installs an operating system on a machine that the caller holds.
    ///
    /// # Errors
    /// Refused, denied; or image, disk or user data do not fit.
    pub async fn deploy(&self, ask: &Ask<MachineView>, which: &str, wanted: &Wanted) -> Result<Once<MachineView>> {
        let image = self.store.image_find(&wanted.image).await?;
        self.change(ask, which, "deploy", |asked, m| {
            // Whether the machine is the caller's to deploy comes first: it is what he asks about.
            rules::edge(asked.user, m, Event::Deploy)?;
            user_data::check(wanted.user_data.expose())?;
            unapplied(m)?;
            let image = image.as_ref().ok_or_else(|| Error::not_found("image", &wanted.image))?;
            let deployment = fit(m, image, wanted.disk_serial.as_deref())?;
            let purpose = user_data::purpose(m.id);
            let sealed = self.vault.seal(&purpose, wanted.user_data.expose());
            Ok((rules::deploy(asked, m, deployment)?, Extra::from(vec![(purpose, sealed)])))
        })
        .await
    }
}

/// Somebody who has declared a layout would believe that he gets it: better he is told now that he does not.
fn unapplied(m: &Machine) -> Result<()> {
    let why = |what: &str| {
        let name = &m.name;
        let part = if what == "storage" { "--remove-storage" } else { "--remove-network" };
        Error::Precondition(format!(
            "machine {name} has declared {what}, and this release cannot apply it at deployment: \
             remove it first (farrier machine configure {name} {part})"
        ))
    };
    match (&m.details.storage, &m.details.network) {
        (Some(_), _) => Err(why("storage")),
        (None, Some(_)) => Err(why("network")),
        (None, None) => Ok(()),
    }
}

/// The deployment, if the image fits the machine and one of its disks.
fn fit(m: &Machine, image: &Image, serial: Option<&str>) -> Result<Deployment> {
    let blob = match (image.kind, image.blob(BlobRole::Disk)) {
        (ImageKind::Disk, Some(blob)) => blob,
        (ImageKind::Disk | ImageKind::Ephemeral, _) => {
            return Err(Error::invalid(
                "image",
                format!("{} is of kind {}; only disk images can be deployed", image.name, image.kind),
            ));
        }
    };
    if image.architecture != m.architecture {
        let why = format!("{} is for {}, and {} is {}", image.name, image.architecture, m.name, m.architecture);
        return Err(Error::invalid("image", why));
    }
    let disks = m.details.hardware.as_ref().map_or(&[][..], |h| &h.disks);
    let need = blob.content_size;
    match serial {
        Some(serial) => named_disk(m, disks, serial, need)?,
        None if disks.iter().any(|d| d.size_bytes >= need) => {}
        None => {
            let have = disks.iter().map(|d| d.size_bytes).max().unwrap_or(0);
            let why =
                format!("no disk of {} holds {}: it needs {need} bytes, the largest has {have}", m.name, image.name);
            return Err(Error::Precondition(why));
        }
    }
    Ok(Deployment {
        image: image.name.to_string(),
        image_id: image.id.to_string(),
        disk_serial: serial.map(ToOwned::to_owned),
    })
}

fn named_disk(m: &Machine, disks: &[Disk], serial: &str, need: u64) -> Result<()> {
    let same: Vec<_> = disks.iter().filter(|d| d.serial == serial).collect();
    match same.as_slice() {
        [] => {
            let known = disks.iter().map(|d| format!("{} ({})", d.serial, d.name)).collect::<Vec<_>>().join(", ");
            Err(Error::invalid("disk_serial", format!("{} has no such disk; it has: {known}", m.name)))
        }
        [one] if one.size_bytes >= need => Ok(()),
        [one] => {
            Err(Error::invalid("disk_serial", format!("the disk has {} bytes; the image needs {need}", one.size_bytes)))
        }
        [_, _, ..] => Err(Error::invalid("disk_serial", format!("{} has more than one disk with this serial", m.name))),
    }
}

#[cfg(test)]
mod tests {
    use farrier_common::hardware::{Architecture, Compression};

    use super::*;
    use crate::domain::{
        image::Blob,
        lifecycle::State,
        machine::Hardware,
        testing::{at, machine},
    };

    fn image(kind: ImageKind, architecture: Architecture) -> Image {
        let role = Image::roles(kind)[0];
        let blob = Blob {
            role,
            sha256: "0".repeat(64),
            size: 10,
            compression: Compression::Zstd,
            content_sha256: "1".repeat(64),
            content_size: 1000,
        };
        let id = farrier_common::id::ImageId::generate();
        Image { id, name: "debian".parse().unwrap(), kind, architecture, blobs: vec![blob], created_at: at(0) }
    }

    fn with_disks(sizes: &[(&str, u64)]) -> Machine {
        let disk = |&(serial, size): &(&str, u64)| Disk {
            name: "vda".into(),
            serial: serial.into(),
            size_bytes: size,
            ..Disk::default()
        };
        let mut m = machine(State::Allocated, None);
        m.details.hardware = Some(Hardware { disks: sizes.iter().map(disk).collect(), ..Hardware::default() });
        m
    }

    #[test]
    fn only_what_fits_is_deployed() {
        let good = image(ImageKind::Disk, Architecture::Amd64);
        let m = with_disks(&[("a", 999), ("b", 1000), ("c", 2000), ("c", 2000)]);
        let told = |m: &Machine, i: &Image, s: Option<&str>| fit(m, i, s).err().map(|e| e.to_string());
        assert_eq!(told(&m, &good, None), None);
        assert_eq!(told(&m, &good, Some("b")), None);
        assert_eq!(told(&m, &good, Some("a")).unwrap(), "disk_serial: the disk has 999 bytes; the image needs 1000");
        assert_eq!(told(&m, &good, Some("c")).unwrap(), "disk_serial: m1 has more than one disk with this serial");
        assert!(told(&m, &good, Some("x")).unwrap().starts_with("disk_serial: m1 has no such disk; it has: a (vda), "));
        let small = with_disks(&[("a", 999)]);
        assert!(told(&small, &good, None).unwrap().contains("no disk of m1 holds debian"));
        let arm = image(ImageKind::Disk, Architecture::Arm64);
        assert_eq!(told(&m, &arm, None).unwrap(), "image: debian is for arm64, and m1 is amd64");
        let ephemeral = image(ImageKind::Ephemeral, Architecture::Amd64);
        assert!(told(&m, &ephemeral, None).unwrap().contains("only disk images"));
    }
}
