//! A person who stands before a machine, switches it when its reason says so, and tells.

use anyhow::ensure;
use farrier_fleet::{
    chassis::Cause,
    population::{Member, Population},
    truth::Fact,
};
use farrier_integration_tests::{
    assets::System,
    daemons::RegionOptions,
    error::Result,
    lab::Lab,
    site::{Site, word},
    wait::{self, Seen},
};
use serde_json::Value;

use super::LIMIT;

/// How somebody who is to switch a machine off goes about it.
#[derive(Clone, Copy)]
enum Manner {
    /// Off, tell, on.
    Told,
    /// He presses reset, and tells nothing.
    Silent,
}

/// Does what the machine's reason asks for, if it asks for anything.
fn obey(site: &Site, member: &Member, explained: &Value, manner: Manner) -> Result<()> {
    let name = &word(&explained["machine"], "name");
    let tell = |power: &str| site.admin.run(&["machine", "tell-power", name, power]).map(drop);
    let phase = word(&explained["machine"], "phase");
    match (word(&explained["why"], "reason_code").as_str(), phase.as_str(), manner) {
        // The agent does it, and he looks on.
        ("switch-off", "finish", _) if member.chassis.is_on() => Ok(()),
        ("switch-off", "power-off", Manner::Silent) if member.chassis.is_on() => {
            member.chassis.reset(Cause::Button);
            let booted = || site.explain(name).is_ok_and(|e| word(&e["machine"], "phase") != "power-off");
            wait::until_true("it gets on by itself", LIMIT, booted)
        }
        ("switch-off", _, _) => {
            member.chassis.power_off(Cause::Button);
            tell("off")
        }
        ("switch-on", "start-os", _) => {
            member.chassis.power_on(Cause::Button);
            tell("on")
        }
        ("switch-on", _, _) => {
            member.chassis.power_on(Cause::Button);
            Ok(())
        }
        _ => Ok(()),
    }
}

fn reaches(site: &Site, member: &Member, name: &str, state: &str, manner: Manner) -> Result<()> {
    wait::until(&format!("{name} is {state}"), LIMIT, || {
        let explained = site.explain(name)?;
        if explained["machine"]["state"] == state {
            return Ok(Seen::Now(()));
        }
        obey(site, member, &explained, manner)?;
        Ok(Seen::NotYet(explained["machine"].to_string()))
    })
}

/// A machine lives its whole life, and nobody asks its BMC for anything.
pub(crate) fn live(lab: &Lab, fleet: &Population) -> anyhow::Result<()> {
    let [member] = fleet.members() else { anyhow::bail!("one machine") };
    let options = RegionOptions { power_poll_seconds: 1, ..RegionOptions::default() };
    let site = Site::start(lab, &options, System::Mini)?;
    member.switch_on();
    let name = site.enlisted(&member.mac.to_string())?;
    let reaches = |state: &str, manner: Manner| reaches(&site, member, &name, state, manner);

    site.admin.run(&["machine", "commission", &name, "--bmc-manual"])?;
    reaches("ready", Manner::Told)?;
    let shown = site.machine(&name)?;
    ensure!(shown["manual"] == true && shown["power"] == "off" && !member.chassis.is_on(), "{shown}");
    let (_, said) = site.admin.refused(&["machine", "power", "on", &name])?;
    ensure!(said.contains("tell-power"), "{said}");

    site.admin.run(&["machine", "allocate", &name])?;
    site.admin.run(&["machine", "deploy", &name, "--image", System::Mini.name()])?;
    reaches("deployed", Manner::Told)?;
    ensure!(member.holds_image(), "deployed, but no disk holds the image");
    site.admin.run(&["machine", "release", &name])?;
    reaches("ready", Manner::Silent)?;

    let (happened, of) = (member.truth.snapshot(), |fact| member.truth.of(fact));
    ensure!(of(Fact::Install) == 1 && of(Fact::Wipe) == 2, "{happened:?}");
    ensure!(of(Fact::AccountMade) + of(Fact::Login) + of(Fact::LoginRefused) == 0, "{happened:?}");
    Ok(())
}
