//! The system among those of the service.

use farrier_common::hardware::PowerState;

use super::{
    super::BmcError,
    client::Client,
    document::{Document, last_part},
};

/// Reads the system whose `Id` is `wanted`, or the only one.
pub(super) async fn read(client: &mut Client<'_>, wanted: &str) -> Result<Document, BmcError> {
    let systems = client.root.link("/Systems")?;
    let (_, members) = client.collection(&systems).await?;
    let path = choose(&members, wanted)?;
    client.get(path).await
}

fn choose<'a>(members: &'a [String], wanted: &str) -> Result<&'a str, BmcError> {
    match members {
        [] => Err(BmcError::Unsupported("it manages no system".to_owned())),
        [only] if wanted.is_empty() => Ok(only),
        all => all.iter().find(|path| last_part(path) == wanted).map(String::as_str).ok_or_else(|| {
            let there: Vec<_> = all.iter().take(8).map(|path| last_part(path)).collect();
            let asked = if wanted.is_empty() { "say which one".to_owned() } else { format!("{wanted:?} is not one") };
            BmcError::Unsupported(format!("it manages {} systems, {asked}: {}", all.len(), there.join(", ")))
        }),
    }
}

/// What it says of its power; `None` while it is on its way, or does not say.
pub(super) fn power(system: &Document) -> Option<PowerState> {
    match system.text("/PowerState")? {
        "On" | "Paused" => Some(PowerState::On),
        "Off" => Some(PowerState::Off),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_several_must_be_named() {
        let one = ["/redfish/v1/Systems/1".to_owned()];
        let two = [one[0].clone(), "/redfish/v1/Systems/node2/".to_owned()];
        assert_eq!(choose(&one, ""), Ok("/redfish/v1/Systems/1"));
        assert_eq!(choose(&two, "node2"), Ok("/redfish/v1/Systems/node2/"));
        let told = |members: &[String], wanted| choose(members, wanted).unwrap_err().to_string();
        assert_eq!(told(&two, ""), "the BMC cannot do that: it manages 2 systems, say which one: 1, node2");
        assert!(told(&two, "3").contains("\"3\" is not one: 1, node2"));
        assert!(told(&one, "2").contains("\"2\" is not one: 1"));
        assert!(told(&[], "").contains("no system"));
    }
}
