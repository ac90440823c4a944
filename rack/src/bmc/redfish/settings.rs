//! BIOS attributes and secure boot (DSP0268 `Bios`, `SecureBoot`): what is written becomes so when the system starts the next time.

use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::{
    super::{
        BmcError,
        settings::{Attribute, SecureBoot, Settings, Wanted},
    },
    Redfish,
    client::Client,
    document::{Document, shown},
    system,
};

/// Attributes, and characters of a value, that are read.
const MOST: usize = 4096;
const SHOWN: usize = 256;

/// Where a system's settings are.
struct Places {
    bios: Option<Document>,
    /// What is to be; the BIOS itself if the BMC has no other place for it.
    pending: Option<Document>,
    secure_boot: Option<Document>,
}

/// Reads all settings.
pub(super) async fn read(client: &mut Client<'_>, system: &str) -> Result<Settings, BmcError> {
    let places = places(client, system).await?;
    let pending = attributes(places.pending.as_ref());
    let mut all: Vec<_> = attributes(places.bios.as_ref())
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| {
            let value = text(value)?;
            let later = pending.and_then(|p| p.get(name)).and_then(text).filter(|later| *later != value);
            Some(Attribute { name: shown(name, SHOWN), value, pending: later })
        })
        .take(MOST)
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    let secure_boot = places.secure_boot.map(|document| SecureBoot {
        enable: document.at("/SecureBootEnable").and_then(Value::as_bool).unwrap_or_default(),
        enforced: document.text("/SecureBootCurrentBoot").map(|now| now == "Enabled"),
        mode: document.shown("/SecureBootMode"),
    });
    Ok(Settings { attributes: all, secure_boot })
}

/// Writes what is wanted, all of it checked before anything is written, and sees that it is told back.
pub(super) async fn write(client: &mut Client<'_>, bmc: &Redfish, wanted: &Wanted) -> Result<(), BmcError> {
    let places = places(client, &bmc.https.system).await?;
    let typed = typed(&places, wanted)?;
    let secure_boot = match (wanted.secure_boot, places.secure_boot) {
        (Some(_), None) => return Err(BmcError::Unsupported("it offers no setting of secure boot".to_owned())),
        (Some(enable), Some(document)) => Some((enable, document)),
        (None, _) => None,
    };
    if let Some(pending) = places.pending.as_ref().filter(|_| !typed.is_empty()) {
        let mut body = Map::from_iter([("Attributes".to_owned(), Value::Object(typed.clone()))]);
        // Some keep a change for good as "pending" until somebody says when it is to be made.
        let times = places.bios.as_ref().and_then(|bios| bios.words("/@Redfish.Settings/SupportedApplyTimes"));
        if times.is_some_and(|times| times.contains(&"OnReset")) {
            body.insert("@Redfish.SettingsApplyTime".to_owned(), json!({"ApplyTime": "OnReset"}));
        }
        // The job ends with the next start of the system; it is not waited for.
        client.patch_begun(pending, &body).await?;
        let seen = [Some(pending.path.clone()), places.bios.as_ref().map(|bios| bios.path.clone())];
        let is = |document: &Document| {
            let told = attributes(Some(document));
            typed.iter().all(|(name, value)| told.and_then(|all| all.get(name)) == Some(value))
        };
        confirm(client, bmc, &seen.into_iter().flatten().collect::<Vec<_>>(), "BIOS attributes", is).await?;
    }
    if let Some((enable, document)) = secure_boot {
        client.patch_begun(&document, &Map::from_iter([("SecureBootEnable".to_owned(), json!(enable))])).await?;
        let is = |document: &Document| document.at("/SecureBootEnable").and_then(Value::as_bool) == Some(enable);
        confirm(client, bmc, &[document.path], "secure boot", is).await?;
    }
    Ok(())
}

async fn places(client: &mut Client<'_>, system: &str) -> Result<Places, BmcError> {
    let system = system::read(client, system).await?;
    let bios = match system.optional_link("/Bios") {
        Some(path) => Some(client.get(&path).await?),
        None => None,
    };
    let settings = bios.as_ref().and_then(|bios| bios.optional_link("/@Redfish.Settings/SettingsObject"));
    let pending = match settings {
        Some(path) => Some(client.get(&path).await?),
        None => bios.clone(),
    };
    let secure_boot = match system.optional_link("/SecureBoot") {
        Some(path) => Some(client.get(&path).await?),
        None => None,
    };
    if bios.is_none() && secure_boot.is_none() {
        return Err(BmcError::Unsupported("it offers no settings of the firmware".to_owned()));
    }
    Ok(Places { bios, pending, secure_boot })
}

fn attributes(document: Option<&Document>) -> Option<&Map<String, Value>> {
    document?.at("/Attributes")?.as_object()
}

/// What is wanted in the types that the attributes have now.
fn typed(places: &Places, wanted: &Wanted) -> Result<Map<String, Value>, BmcError> {
    let there = attributes(places.bios.as_ref());
    let mut typed = Map::new();
    for (name, value) in &wanted.attributes {
        let now = there.and_then(|all| all.get(name));
        let now = now.ok_or_else(|| BmcError::Rejected(format!("it has no BIOS attribute {name:?}")))?;
        let fits = match now {
            Value::Bool(_) => value.parse().ok().map(Value::Bool),
            Value::Number(_) => serde_json::from_str(value).ok().filter(Value::is_number),
            Value::String(_) | Value::Null => Some(Value::String(value.clone())),
            Value::Array(_) | Value::Object(_) => None,
        };
        let fits = fits.ok_or_else(|| {
            let is = text(now).unwrap_or_else(|| "no simple value".to_owned());
            BmcError::Rejected(format!("the BIOS attribute {name:?} is {is} and cannot be {value:?}"))
        })?;
        typed.insert(name.clone(), fits);
    }
    Ok(typed)
}

/// A simple value as JSON writes it, texts without quotes.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(shown(text, SHOWN)),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null => Some(String::new()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// Looks until one of the documents tells what was written.
async fn confirm(
    client: &mut Client<'_>,
    bmc: &Redfish,
    paths: &[String],
    what: &str,
    is: impl Fn(&Document) -> bool,
) -> Result<(), BmcError> {
    let until = client.deadline().min(Instant::now() + bmc.patience.repeat);
    loop {
        for path in paths {
            if is(&client.get(path).await?) {
                return Ok(());
            }
        }
        if Instant::now() + bmc.patience.poll >= until {
            return Err(BmcError::NotConfirmed(format!("the change of {what} was accepted, but is not told back")));
        }
        sleep(bmc.patience.poll).await;
    }
}
