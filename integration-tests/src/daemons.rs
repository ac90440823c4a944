//! The region and the rack, as they are shipped, in the lab's namespace.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    binaries::binary,
    daemon::Daemon,
    error::{LabError, Result},
    net::{BRIDGE, Net, SERVER},
    wait,
};

/// The region's port.
pub const REGION_PORT: u16 = 5240;
/// The rack's port for the region.
pub const RACK_PORT: u16 = 5251;
/// The rack's port for agents.
pub const AGENT_PORT: u16 = 5250;
/// The rack's port for firmware and images.
pub const HTTP_PORT: u16 = 5248;

/// A daemon may migrate a database first, on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(180);

/// What differs from lab to lab.
#[derive(Debug, Clone)]
pub struct RegionOptions {
    /// PostgreSQL's address; SQLite if there is none.
    pub database: Option<String>,
    /// How often the power of machines at rest is asked for.
    pub power_poll_seconds: u32,
    /// Keys of `[deadlines]` that are not left at the region's own limits, each in its own unit.
    pub deadlines: Vec<(&'static str, u32)>,
}

impl Default for RegionOptions {
    fn default() -> Self {
        Self { database: None, power_poll_seconds: 3, deadlines: Vec::new() }
    }
}

/// `farrier-region`.
#[derive(Debug)]
pub struct Region {
    /// The process.
    pub daemon: Daemon,
    dir: PathBuf,
}

impl Region {
    /// Starts one whose files are in `dir`.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(net: &Net, dir: &Path, options: &RegionOptions) -> Result<Self> {
        let mut config = format!(
            "data_dir = \"{}\"\nlisten = \"{SERVER}:{REGION_PORT}\"\nadvertise = \"{SERVER}:{REGION_PORT}\"\n\
             power_poll_seconds = {}\nrequire_erase = true\nrate_limit_per_second = 0\nephemeral_image = \"ephemeral\"\n",
            dir.join("data").display(),
            options.power_poll_seconds
        );
        if let Some(url) = &options.database {
            config.push_str(&format!("database = \"{url}\"\n"));
        }
        config.push_str("[deadlines]\n");
        config.extend(options.deadlines.iter().map(|(key, limit)| format!("{key} = {limit}\n")));
        fs::create_dir_all(dir.join("data")).map_err(LabError::io("cannot make the region's folder"))?;
        fs::write(dir.join("region.toml"), config).map_err(LabError::io("cannot write region.toml"))?;
        let mut command = net.command(binary("farrier-region")?);
        command.arg("--config").arg(dir.join("region.toml"));
        command.arg("--admin-token-file").arg(dir.join("admin-token"));
        let mut region =
            Self { daemon: Daemon::new("farrier-region", dir.join("region.log"), command), dir: dir.to_owned() };
        region.restart()?;
        Ok(region)
    }

    /// Starts it again after [`Daemon::kill`] or [`Daemon::stop`]; returns when it serves.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.daemon.start()?;
        self.daemon.listens(REGION_PORT, START_LIMIT)?;
        let (ca, token) = (self.ca(), self.admin_token());
        wait::until_true("the region's certificate and admin token", START_LIMIT, || ca.exists() && token.exists())
    }

    /// The file with the region's CA certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.dir.join("data/ca.pem")
    }

    /// The file with the first administrator's token.
    #[must_use]
    pub fn admin_token(&self) -> PathBuf {
        self.dir.join("admin-token")
    }

    /// Where clients reach it.
    #[must_use]
    pub fn address() -> String {
        format!("{SERVER}:{REGION_PORT}")
    }
}

/// `farrier-rack`.
#[derive(Debug)]
pub struct Rack {
    /// The process.
    pub daemon: Daemon,
}

impl Rack {
    /// Starts one whose files are in `dir`; it enrols with `join_token`.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(net: &Net, dir: &Path, join_token: &str) -> Result<Self> {
        let token_file = dir.join("join-token");
        let config = format!(
            "data_dir = \"{}\"\njoin_token_file = \"{}\"\naddress = \"{SERVER}\"\ninterfaces = [\"{BRIDGE}\"]\n\
             advertise = \"{SERVER}:{RACK_PORT}\"\nservice_port = {RACK_PORT}\nagent_port = {AGENT_PORT}\nhttp_port = {HTTP_PORT}\n\
             dhcp_port = 67\ntftp_port = 69\nloaders_dir = \"/usr/lib/ipxe\"\n",
            dir.join("data").display(),
            token_file.display(),
        );
        fs::create_dir_all(dir.join("data")).map_err(LabError::io("cannot make the rack's folder"))?;
        fs::write(&token_file, join_token).map_err(LabError::io("cannot write the join token"))?;
        fs::write(dir.join("rack.toml"), config).map_err(LabError::io("cannot write rack.toml"))?;
        let mut command = net.command(binary("farrier-rack")?);
        command.arg("--config").arg(dir.join("rack.toml"));
        let mut rack = Self { daemon: Daemon::new("farrier-rack", dir.join("rack.log"), command) };
        rack.restart()?;
        Ok(rack)
    }

    /// Starts it again after [`Daemon::kill`] or [`Daemon::stop`]; returns when it serves.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.daemon.start()?;
        self.daemon.listens(RACK_PORT, START_LIMIT)?;
        self.daemon.listens(AGENT_PORT, START_LIMIT)?;
        self.daemon.listens(HTTP_PORT, START_LIMIT)
    }
}
