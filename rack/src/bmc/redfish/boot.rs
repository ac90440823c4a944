//! What the firmware boots the next time, once.

use farrier_common::hardware::BootDevice;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::{super::BmcError, Redfish, client::Client, document::Document, system};

/// Sets the override and sees that it is told back.
pub(super) async fn set(
    client: &mut Client<'_>,
    bmc: &Redfish,
    device: BootDevice,
    uefi: bool,
) -> Result<(), BmcError> {
    let system = system::read(client, &bmc.https.system).await?;
    let settings = system.optional_link("/@Redfish.Settings/SettingsObject").filter(|_| client.rules.settings_object());
    let settings = match settings {
        // Some have a settings object for other things than this.
        Some(path) => Some(client.get(&path).await?).filter(|d| d.at("/Boot").is_some()),
        None => None,
    };
    let place = settings.as_ref().unwrap_or(&system);
    let target = target(place, &system, device)?;
    let body = body(client, (place, &system), target, uefi);
    client.patch(place, &body).await?;
    let seen = vec![Some(system.path.clone()), settings.map(|d| d.path)];
    confirm(client, bmc, &seen.into_iter().flatten().collect::<Vec<_>>(), target).await
}

/// Redfish's word for the device.
fn target(place: &Document, system: &Document, device: BootDevice) -> Result<&'static str, BmcError> {
    let word = match device {
        BootDevice::Network => "Pxe",
        BootDevice::Disk => "Hdd",
    };
    let pointer = "/Boot/BootSourceOverrideTarget@Redfish.AllowableValues";
    match place.words(pointer).or_else(|| system.words(pointer)) {
        Some(allowed) if !allowed.is_empty() && !allowed.contains(&word) => Err(BmcError::Unsupported(format!(
            "it boots from {device} ({word}) not by override, only from {}",
            super::document::shown(&allowed.join(", "), 120)
        ))),
        Some(_) | None => Ok(word),
    }
}

fn body(client: &Client<'_>, (place, system): (&Document, &Document), target: &str, uefi: bool) -> Map<String, Value> {
    let mut boot = json!({"BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": target});
    let mode = if uefi { "UEFI" } else { "Legacy" };
    let pointer = "/Boot/BootSourceOverrideMode@Redfish.AllowableValues";
    let there = |pointer: &str| place.at(pointer).is_some() || system.at(pointer).is_some();
    let allowed = place.words(pointer).or_else(|| system.words(pointer));
    let taken = allowed.is_none_or(|all| all.is_empty() || all.contains(&mode));
    // A firmware that knows one mode only is not asked for it.
    if taken && there("/Boot/BootSourceOverrideMode") && !client.rules.boot_omits("BootSourceOverrideMode") {
        boot["BootSourceOverrideMode"] = json!(mode);
    }
    Map::from_iter([("Boot".to_owned(), boot)])
}

/// Looks until one of the documents tells the override. Whether once and for UEFI or not is not compared: some tell what they
/// are set to for good instead (sushy-emulator: always `Continuous`).
async fn confirm(client: &mut Client<'_>, bmc: &Redfish, paths: &[String], target: &str) -> Result<(), BmcError> {
    let until = client.deadline().min(Instant::now() + bmc.patience.repeat);
    loop {
        let mut told = Vec::new();
        for path in paths {
            let read = client.get(path).await?;
            let (enabled, found) =
                (read.shown("/Boot/BootSourceOverrideEnabled"), read.shown("/Boot/BootSourceOverrideTarget"));
            if enabled != "Disabled" && found == target {
                return Ok(());
            }
            told.push(format!("{path}: {enabled} {found}"));
        }
        if Instant::now() + bmc.patience.poll >= until {
            let text = format!("a boot from {target} was accepted, but the BMC tells {}", told.join(", "));
            return Err(BmcError::NotConfirmed(text));
        }
        sleep(bmc.patience.poll).await;
    }
}
