//! Settings of the firmware, on simulated BMCs of every vendor.

use farrier_common::hardware::PowerState;
use farrier_rack::bmc::{
    BmcError, Capability, Face, Login,
    settings::{Settings, Wanted},
};

use crate::{Bmc, bmcs, events::VENDORS};

async fn read(bmc: &Bmc) -> Settings {
    bmcs().settings(&bmc.login).await.unwrap()
}

fn wanted(name: &str, value: &str) -> Wanted {
    Wanted { attributes: vec![(name.to_owned(), value.to_owned())], secure_boot: None }
}

/// The value and what it will be.
fn of(settings: &Settings, name: &str) -> (String, Option<String>) {
    let attribute = settings.attributes.iter().find(|a| a.name == name).unwrap();
    (attribute.value.clone(), attribute.pending.clone())
}

#[tokio::test]
async fn what_is_set_becomes_so_with_the_next_start() {
    for (number, vendor) in VENDORS.iter().enumerate() {
        let bmc = Bmc::known(vendor, 210 + u8::try_from(number).unwrap()).await;
        let probe = bmcs().probe(&bmc.login).await.unwrap();
        for capability in [Capability::BiosSettings, Capability::SecureBoot] {
            assert!(probe.capabilities.contains(&capability), "{vendor}: {probe:?}");
        }
        let before = read(&bmc).await;
        let names: Vec<_> = before.attributes.iter().map(|a| a.name.clone()).collect();
        assert!(!names.is_empty() && names.is_sorted() && before.attributes.iter().all(|a| a.pending.is_none()));
        let secure_boot = before.secure_boot.clone().unwrap();
        assert_eq!((secure_boot.enable, secure_boot.enforced), (false, Some(false)), "{vendor}");

        let name = names[0].as_str();
        let was = of(&before, name).0;
        let value = if was == "true" { "false" } else { "Another" };
        let all = Wanted { secure_boot: Some(true), ..wanted(name, value) };
        bmcs().set_settings(&bmc.login, &all).await.unwrap_or_else(|e| panic!("{vendor}: {e}"));
        let set = read(&bmc).await;
        assert_eq!(of(&set, name), (was, Some(value.to_owned())), "{vendor}");
        assert!(set.secure_boot.as_ref().is_some_and(|s| s.enable && s.enforced == Some(false)), "{vendor}: {set:?}");
        assert!(names[1..].iter().all(|other| of(&set, other) == of(&before, other)), "{vendor}: others changed");
        // A level: again changes nothing more.
        bmcs().set_settings(&bmc.login, &all).await.unwrap();

        bmcs().set_power(&bmc.login, PowerState::On).await.unwrap();
        let started = read(&bmc).await;
        assert_eq!(of(&started, name), (value.to_owned(), None), "{vendor}");
        assert_eq!(started.secure_boot.unwrap().enforced, Some(true), "{vendor}");
    }
}

#[tokio::test]
async fn what_there_is_not_is_refused_and_nothing_is_written() {
    let bmc = Bmc::known("supermicro", 216).await;
    let before = read(&bmc).await;
    let two = |second: (&str, &str)| Wanted {
        attributes: vec![
            ("BootModeSelect".to_owned(), "Legacy".to_owned()),
            (second.0.to_owned(), second.1.to_owned()),
        ],
        secure_boot: Some(true),
    };
    for (second, why) in [
        (("TurboButton", "on"), "it has no BIOS attribute \"TurboButton\""),
        (("QuietBoot", "perhaps"), "\"QuietBoot\" is true and cannot be \"perhaps\""),
    ] {
        let error = bmcs().set_settings(&bmc.login, &two(second)).await.unwrap_err();
        assert!(matches!(&error, BmcError::Rejected(text) if text.contains(why)), "{error}");
        assert_eq!(read(&bmc).await, before);
    }
    let by_ipmi = Login { face: Face::Ipmi, ..bmc.login.clone() };
    let error = bmcs().settings(&by_ipmi).await.unwrap_err();
    assert!(matches!(&error, BmcError::Unsupported(text) if text.contains("Redfish")), "{error}");
}
