//! Farrier at work in a lab: region, rack, images, subnet and an administrator, ready to take machines in.

use std::time::Duration;

use serde_json::Value;

use crate::{
    assets::{self, System},
    cli::Cli,
    daemons::{Rack, Region, RegionOptions},
    error::{LabError, Result},
    lab::{Lab, text},
    net::{DYNAMIC, SUBNET},
    wait::{self, Seen},
};

/// The rack's name.
pub const RACK: &str = "r1";
/// No step of a life takes longer, even on a host that does ten other things.
pub const LONG: Duration = Duration::from_secs(2400);

/// Farrier at work.
#[derive(Debug)]
pub struct Site {
    /// The region.
    pub region: Region,
    /// The rack.
    pub rack: Rack,
    /// The administrator's command.
    pub admin: Cli,
}

impl Site {
    /// Starts everything and uploads the ephemeral image and one system.
    ///
    /// # Errors
    /// Something does not start, or an image cannot be built.
    pub fn start(lab: &Lab, options: &RegionOptions, system: System) -> Result<Self> {
        Self::start_with(lab, options, DYNAMIC, |admin| upload_images(admin, system))
    }

    /// Starts everything; `images` uploads some, and `dynamic` is the range for machines that are not known.
    ///
    /// # Errors
    /// Something does not start.
    pub fn start_with(
        lab: &Lab,
        options: &RegionOptions,
        dynamic: &str,
        images: impl FnOnce(&Cli) -> Result<()>,
    ) -> Result<Self> {
        let region = lab.start_region(options)?;
        let admin = lab.login(&region, "admin", &region.admin_token())?;
        images(&admin)?;
        let rack = lab.start_rack(&join_token(&admin)?)?;
        rack_is_connected(&admin)?;
        admin.run(&["subnet", "create", "--cidr", SUBNET, "--rack", RACK, "--dynamic", dynamic])?;
        Ok(Self { region, rack, admin })
    }

    /// The command of a new user with role `user`.
    ///
    /// # Errors
    /// The region refuses.
    pub fn add_user(&self, lab: &Lab, name: &str) -> Result<Cli> {
        self.admin.run(&["user", "create", name, "--role", "user"])?;
        let token = self.admin.run(&["token", "create", "--user", name])?;
        let file = lab.write(&format!("{name}.token"), token.trim())?;
        lab.login(&self.region, name, &file)
    }

    /// The machine as the region shows it.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn machine(&self, name: &str) -> Result<Value> {
        self.admin.json(&["machine", "show", name])
    }

    /// Waits until the region knows a machine with this MAC; gives its name.
    ///
    /// # Errors
    /// It does not come to know one.
    pub fn enlisted(&self, mac: &str) -> Result<String> {
        wait::until(&format!("a machine with {mac}"), LONG, || {
            let list = self.admin.json(&["machine", "list"])?;
            let machines = list["machines"].as_array().cloned().unwrap_or_default();
            let has_mac = |m: &&Value| m["interfaces"].as_array().is_some_and(|i| i.iter().any(|i| i["mac"] == mac));
            Ok(match machines.iter().find(has_mac) {
                Some(machine) => Seen::Now(word(machine, "name")),
                None => Seen::NotYet(format!("{} machines", machines.len())),
            })
        })
    }

    /// Waits until the machine is in `state`.
    ///
    /// # Errors
    /// It ends in a failed state instead, or does not come to `state`.
    pub fn reaches(&self, name: &str, state: &str, limit: Duration) -> Result<Value> {
        self.sees(name, &format!("{name} is {state}"), limit, |machine| machine["state"] == state)
    }

    /// Waits until `good` holds for the machine as the region shows it. A region that is away is waited for.
    ///
    /// # Errors
    /// It ends in a failed state instead, or `good` does not come to hold.
    pub fn sees(&self, name: &str, what: &str, limit: Duration, good: impl Fn(&Value) -> bool) -> Result<Value> {
        wait::until(what, limit, || {
            let machine = match self.machine(name) {
                Ok(machine) => machine,
                Err(error) => return Ok(Seen::NotYet(error.to_string())),
            };
            if good(&machine) {
                return Ok(Seen::Now(machine));
            }
            let seen =
                format!("{} ({}): {}", word(&machine, "state"), word(&machine, "phase"), word(&machine, "reason"));
            if word(&machine, "state").starts_with("failed") {
                return Err(LabError::answer(what, seen));
            }
            Ok(Seen::NotYet(seen))
        })
    }

    /// The transitions of a machine, oldest first, as `from to`.
    ///
    /// # Errors
    /// The region does not answer.
    pub fn transitions(&self, name: &str) -> Result<Vec<String>> {
        let answer = self.admin.json(&["event", "list", "--machine", name, "--kind", "transition"])?;
        let events = answer["events"].as_array().cloned().unwrap_or_default();
        Ok(events.iter().map(|e| format!("{} {}", word(e, "from"), word(e, "to")).trim().to_owned()).collect())
    }

    /// What `explain` tells.
    ///
    /// # Errors
    /// There is no such machine.
    pub fn explain(&self, name: &str) -> Result<Value> {
        self.admin.json(&["machine", "explain", name, "--entries", "1000"])
    }
}

/// Uploads the ephemeral image and one system's.
///
/// # Errors
/// They cannot be built or uploaded.
pub fn upload_images(admin: &Cli, system: System) -> Result<()> {
    let ephemeral = assets::ephemeral()?;
    let (kernel, initrd) = (text(&ephemeral.kernel), text(&ephemeral.initrd));
    let create = ["image", "create", "ephemeral", "--kind", "ephemeral", "--arch", "amd64"];
    admin.run(&[&create[..], &["--kernel", &kernel, "--initrd", &initrd]].concat())?;
    let disk = text(&assets::disk_image(system)?);
    admin.run(&["image", "create", system.name(), "--kind", "disk", "--arch", "amd64", "--disk", &disk]).map(drop)
}

/// A token for the rack.
///
/// # Errors
/// The region refuses.
pub fn join_token(admin: &Cli) -> Result<String> {
    Ok(admin.run(&["rack", "join-token", RACK])?.trim().to_owned())
}

/// Waits until region and rack talk.
///
/// # Errors
/// They do not.
pub fn rack_is_connected(admin: &Cli) -> Result<()> {
    wait::until("the rack's connection", Duration::from_secs(180), || {
        let racks = admin.json(&["rack", "list"])?;
        let connected =
            racks["racks"].as_array().is_some_and(|r| r.iter().any(|r| r["name"] == RACK && r["connected"] == true));
        Ok(if connected { Seen::Now(()) } else { Seen::NotYet(racks.to_string()) })
    })
}

/// A field that holds a text; empty if it is null.
#[must_use]
pub fn word(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}
