//! `make run`: the whole life of one machine in the virtual lab, shown step by step.
//!
//! Everything is as in the tests: an emulated machine with real firmware, a BMC that others wrote, and the daemons and
//! the `farrier` command as they are shipped. What is printed after `$` can be typed.

#![expect(clippy::print_stdout, reason = "what this program is for")]

use std::{process::ExitCode, time::Instant};

use chrono::{DateTime, FixedOffset};
use clap::Parser;
use farrier_common::hardware::Firmware;
use farrier_integration_tests::{
    assets::{self, System},
    binaries::binary,
    bmc::{ADMIN, ADMIN_PASSWORD},
    daemons::{Region, RegionOptions},
    lab::{Lab, text},
    machine::{Machine, MachineSpec},
    net::{DYNAMIC, SUBNET},
    site::{self, RACK, Site, word},
};
use serde_json::Value;

/// Shows a machine's whole life in a virtual lab.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// What is deployed: a mini OS that boots in seconds, or Debian 12 with cloud-init.
    #[arg(long, value_enum, default_value = "mini")]
    image: Image,
    /// The machine's firmware.
    #[arg(long, value_enum, default_value = "uefi")]
    firmware: FirmwareWord,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Image {
    Mini,
    Debian,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum FirmwareWord {
    Bios,
    Uefi,
}

/// Says what happens, and how long it took until then.
struct Story {
    start: Instant,
}

impl Story {
    fn tell(&self, text: &str) {
        println!("\n[{:6.1} s] {text}", self.start.elapsed().as_secs_f64());
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let story = Story { start: Instant::now() };
    let mut lab = match Lab::new() {
        Ok(lab) => lab,
        Err(error) => return failed(&error.into()),
    };
    match run(&story, &mut lab, &arguments) {
        Ok(()) => {
            story.tell("Done.");
            ExitCode::SUCCESS
        }
        Err(error) => {
            lab.show_logs();
            failed(&error)
        }
    }
}

#[expect(clippy::print_stderr, reason = "a command's error")]
fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("farrier-lab: {error:#}");
    ExitCode::FAILURE
}

fn run(story: &Story, lab: &mut Lab, arguments: &Arguments) -> anyhow::Result<()> {
    let system = match arguments.image {
        Image::Mini => System::Mini,
        Image::Debian => System::Debian,
    };
    let firmware = match arguments.firmware {
        FirmwareWord::Bios => Firmware::Bios,
        FirmwareWord::Uefi => Firmware::Uefi,
    };
    story.tell("Building daemons and images; the first time this takes minutes.");
    binary("farrier-region")?;
    assets::ephemeral()?;
    assets::disk_image(system)?;
    let number = lab.add_machine(MachineSpec::new(1, firmware))?;
    let site = prepare(story, lab, system)?;
    let machine = lab.machines().get(number).ok_or_else(|| anyhow::anyhow!("the machine that was added is gone"))?;
    live(story, lab, &site, machine, system)
}

/// Region, images, rack and subnet, as an administrator sets them up.
fn prepare(story: &Story, lab: &Lab, system: System) -> anyhow::Result<Site> {
    story.tell("The region starts; an administrator logs in and uploads images.");
    let region = lab.start_region(&RegionOptions::default())?;
    let (ca, token) = (text(&region.ca()), text(&region.admin_token()));
    let quiet = lab.person("admin")?;
    let admin = quiet.clone().echoing();
    admin.show(&["login", "--server", &Region::address(), "--ca-file", &ca, "--token-file", &token])?;
    let ephemeral = assets::ephemeral()?;
    let (kernel, initrd) = (text(&ephemeral.kernel), text(&ephemeral.initrd));
    let create = ["image", "create", "ephemeral", "--kind", "ephemeral", "--arch", "amd64"];
    admin.show(&[&create[..], &["--kernel", &kernel, "--initrd", &initrd]].concat())?;
    let disk = text(&assets::disk_image(system)?);
    admin.show(&["image", "create", system.name(), "--kind", "disk", "--arch", "amd64", "--disk", &disk])?;

    story.tell("A rack enrols with a one-time token, and serves the machines' subnet.");
    let join_token = admin.run(&["rack", "join-token", RACK])?;
    println!("({} characters, given to the rack in a file)", join_token.trim().len());
    let rack = lab.start_rack(join_token.trim())?;
    site::rack_is_connected(&quiet)?;
    admin.show(&["rack", "list"])?;
    admin.show(&["subnet", "create", "--cidr", SUBNET, "--rack", RACK, "--dynamic", DYNAMIC])?;
    Ok(Site { region, rack, admin: quiet })
}

/// The life of one machine.
fn live(story: &Story, lab: &Lab, site: &Site, machine: &Machine, system: System) -> anyhow::Result<()> {
    let admin = site.admin.clone().echoing();
    let spec = machine.spec();
    story.tell(&format!("Somebody switches on an unknown machine: {}, {} firmware.", spec.mac, spec.firmware));
    machine.set_power(true)?;
    let name = site.enlisted(&spec.mac)?;
    admin.show(&["machine", "list"])?;

    story.tell("It is commissioned: an account on its BMC, a boot, an inventory.");
    let password = text(&lab.write("bmc-password", ADMIN_PASSWORD)?);
    let bmc = ["--bmc-address", machine.bmc().address(), "--bmc-user", ADMIN, "--bmc-password-file", &password];
    admin.show(&[&["machine", "commission", &name, "--wait"][..], &bmc].concat())?;
    admin.show(&["machine", "show", &name])?;

    story.tell("Alice takes it and deploys a system with user data of her own.");
    let alice = site.add_user(lab, "alice")?.echoing();
    alice.show(&["machine", "allocate", &name])?;
    let user_data = text(&lab.write("user-data", "#!/bin/sh\necho hello from user data > /var/hello\n")?);
    alice.show(&["machine", "deploy", &name, "--image", system.name(), "--user-data", &user_data, "--wait"])?;

    story.tell("She gives it back: its disks are erased, and read back.");
    alice.show(&["machine", "release", &name, "--wait"])?;
    admin.show(&["machine", "show", &name])?;

    story.tell("What happened to it, as the region tells it:");
    timeline(&admin.json(&["machine", "explain", &name, "--entries", "1000"])?)
}

/// Prints the timeline of an explanation, each entry with the seconds since the one before.
fn timeline(explanation: &Value) -> anyhow::Result<()> {
    let entries = explanation["timeline"].as_array().filter(|t| !t.is_empty());
    let entries = entries.ok_or_else(|| anyhow::anyhow!("the timeline is empty"))?;
    println!("{:<12}  {:>8}  {:<10}  WHAT", "TIME", "SECONDS", "KIND");
    let mut before: Option<DateTime<FixedOffset>> = None;
    for entry in entries {
        let at = DateTime::parse_from_rfc3339(&word(entry, "at"))?;
        let step = before.map_or_else(String::new, |b| format!("+{:.1}", (at - b).as_seconds_f64()));
        println!("{:<12}  {step:>8}  {:<10}  {}", at.format("%H:%M:%S%.3f"), word(entry, "kind"), word(entry, "text"));
        before = Some(at);
    }
    Ok(())
}
