//! How a site comes to have its machines.

use std::{fs, path::Path, time::Duration};

use farrier_integration_tests::{
    error::LabError,
    postgres::Postgres,
    wait::{self, Seen},
};
use farrier_proto::v1::{self, MachineState};
use tonic::Status;

use super::{
    Bench, HANDS, LIVE, MORE, SYSTEM,
    clients::{Transitions, each},
    name, per_second,
};
use crate::{
    driver::{self, Driver},
    measures::look::mib,
    report::Row,
    site::{Admin, Cli, Site, options},
};

const LIMIT: Duration = Duration::from_mins(2);
const LABELS: u32 = 8;

impl Bench {
    /// Region, driver, images and subnet.
    pub(crate) async fn start(dir: &Path, postgres: Option<Postgres>, power_poll: u32) -> anyhow::Result<Self> {
        let site = Site::start(dir, postgres, power_poll)?;
        let cli = site.login()?;
        images(&cli, dir)?;
        let driver = Driver::start(&cli.run(&["rack", "join-token", "r1"])?).await?;
        connected(&cli, "r1", 0)?;
        let subnet = ["subnet", "create", "--cidr", "10.64.0.0/16", "--rack", "r1"];
        cli.run(&[&subnet[..], &["--dynamic", "10.64.255.0-10.64.255.254"]].concat())?;
        Ok(Self { site, cli, _driver: driver, rack: None })
    }

    /// The region again, with another time between two looks at the power of machines.
    pub(crate) async fn again(&mut self, power_poll: u32) -> anyhow::Result<()> {
        self.site.again(power_poll)?;
        connected(&self.cli, "r1", 1)
    }

    /// The first machines: with a workload, and by hand.
    pub(crate) async fn fill(&mut self) -> anyhow::Result<Vec<Row>> {
        let (live, times) =
            each(&self.site, LIVE, async |admin, n| add_live(admin, n, "r1", Some(credentials(n))).await).await?;
        let mut seen = Transitions::watch(&self.site, "").await?;
        let begun = std::time::Instant::now();
        let (made, ready) =
            tokio::join!(each(&self.site, HANDS, create), seen.until(MachineState::Ready, HANDS.count()));
        ready?;
        let all = begun.elapsed();
        Ok(vec![
            Row::rate("C1", "live machines added, 16 clients", per_second(LIVE.count(), live)).beside(20.0, 1000.0),
            Row::cost("C1", "one of them, p50", " ms", times.ms(0.5)).beside(777.0, 777.0 / 50.0),
            Row::rate("C1", "machines added by hand while they are commissioned", per_second(HANDS.count(), made?.0))
                .beside(20.0, 1000.0),
            Row::rate("C1", "machines added by hand and commissioned, all steps", per_second(HANDS.count(), all)),
        ])
    }

    /// A real rack, whose machines run a workload already; its memory.
    pub(crate) async fn second_rack(&mut self) -> anyhow::Result<Row> {
        let mut rack = self.site.rack(&self.cli.run(&["rack", "join-token", "r2"])?)?;
        connected(&self.cli, "r2", 0)?;
        each(&self.site, MORE, async |admin, n| add_live(admin, n, "r2", None).await).await?;
        connected(&self.cli, "r2", MORE.count())?;
        let memory = mib(super::look::process("rack", rack.pid()?)?.resident);
        self.rack = Some(rack);
        Ok(Row::cost("C8", "memory of the rack, 5,000 machines", " MiB", memory).beside(331.0, 30.0))
    }
}

/// Files that are images only by name: nobody boots them.
fn images(cli: &Cli, dir: &Path) -> anyhow::Result<()> {
    let file = |name: &str| {
        let path = dir.join(name);
        fs::write(&path, name.repeat(1000)).map(|()| path.display().to_string())
    };
    let (kernel, initrd, disk) = (file("kernel")?, file("initrd")?, file("disk.raw")?);
    let create = ["image", "create", "ephemeral", "--kind", "ephemeral", "--arch", "amd64"];
    cli.run(&[&create[..], &["--kernel", &kernel, "--initrd", &initrd]].concat())?;
    cli.run(&["image", "create", SYSTEM, "--kind", "disk", "--arch", "amd64", "--disk", &disk])?;
    Ok(())
}

/// Waits until the region hears the rack, and the rack holds as many boot intents at least.
fn connected(cli: &Cli, rack: &str, intents: usize) -> anyhow::Result<()> {
    wait::until(&format!("rack {rack} with {intents} intents"), LIMIT, || {
        let text =
            cli.run(&["rack", "list", "-o", "json"]).map_err(|e| LabError::answer("rack list", e.to_string()))?;
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let fits = |r: &serde_json::Value| {
            let held = r["intents"].as_u64().or_else(|| r["intents"].as_str()?.parse().ok()).unwrap_or(0);
            r["name"] == rack && r["connected"] == true && held >= intents as u64
        };
        let there = answer["racks"].as_array().is_some_and(|racks| racks.iter().any(fits));
        Ok(if there { Seen::Now(()) } else { Seen::NotYet(text) })
    })?;
    Ok(())
}

fn credentials(n: u32) -> v1::BmcCredentials {
    v1::BmcCredentials {
        protocol: v1::BmcProtocol::Ipmi.into(),
        address: driver::bmc(n).to_string(),
        username: "root".to_owned(),
        password: "calvin-klein".to_owned(),
        ..Default::default()
    }
}

fn labels(n: u32) -> std::collections::HashMap<String, String> {
    (0..LABELS).map(|label| (format!("label-{label}"), (n + label).to_string())).collect()
}

async fn add_live(admin: Admin, n: u32, rack: &str, bmc: Option<v1::BmcCredentials>) -> Result<(), Status> {
    let request = v1::AddLiveMachineRequest {
        options: options(),
        name: name(n),
        architecture: v1::Architecture::Amd64.into(),
        macs: vec![driver::mac(n).to_string()],
        bmc,
        labels: labels(n),
        rack: rack.to_owned(),
        ..Default::default()
    };
    admin.machines().add_live_machine(admin.by(request)).await.map(drop)
}

async fn create(admin: Admin, n: u32) -> Result<(), Status> {
    let request = v1::CreateMachineRequest {
        options: options(),
        name: name(n),
        architecture: v1::Architecture::Amd64.into(),
        macs: vec![driver::mac(n).to_string()],
        bmc: Some(credentials(n)),
        labels: labels(n),
        ..Default::default()
    };
    admin.machines().create_machine(admin.by(request)).await.map(drop)
}
