//! A region on loopback, as it is shipped, and clients for it.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Context as _;
use farrier_common::{id::MachineId, tls};
use farrier_fleet::meter::{Cost, Process};
use farrier_integration_tests::{binaries::binary, daemon::Daemon, postgres::Postgres, process};
use farrier_proto::v1::{self, events_client::EventsClient, machines_client::MachinesClient};
use tonic::{
    Request,
    metadata::AsciiMetadataValue,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

const START_LIMIT: Duration = Duration::from_mins(2);
/// A page of 1,000 machines with all that is known of them.
const ANSWER_BYTES: usize = 64 << 20;

/// A region, and its PostgreSQL if it has one.
pub(crate) struct Site {
    pub(crate) region: Daemon,
    postgres: Option<Postgres>,
    dir: PathBuf,
    port: u16,
    bearer: AsciiMetadataValue,
}

impl Site {
    /// Starts it in `dir`; nothing is left out that keeps what was acknowledged: fsync is on everywhere.
    pub(crate) fn start(dir: &Path, postgres: Option<Postgres>, power_poll_seconds: u32) -> anyhow::Result<Self> {
        fs::create_dir_all(dir.join("data"))?;
        let mut command = Command::new(binary("farrier-region")?);
        command.arg("--config").arg(dir.join("region.toml")).arg("--admin-token-file").arg(dir.join("token"));
        let region = Daemon::new("farrier-region", dir.join("region.log"), command);
        let bearer = AsciiMetadataValue::from_static("");
        let mut site = Self { region, postgres, dir: dir.to_owned(), port: free_port()?, bearer };
        site.again(power_poll_seconds)?;
        let token = fs::read_to_string(dir.join("token"))?;
        site.bearer = format!("Bearer {}", token.trim()).parse()?;
        Ok(site)
    }

    /// Starts the region (anew) with this much time between two looks at the power of machines at rest.
    pub(crate) fn again(&mut self, power_poll_seconds: u32) -> anyhow::Result<()> {
        if self.region.pid().is_ok() {
            self.region.stop()?;
        }
        let Self { dir, port, .. } = self;
        let mut config = format!(
            "data_dir = {:?}\nlisten = \"127.0.0.1:{port}\"\nadvertise = \"127.0.0.1:{port}\"\n\
             power_poll_seconds = {power_poll_seconds}\nrate_limit_per_second = 0\n",
            dir.join("data")
        );
        config.extend(self.postgres.as_ref().map(|p| format!("database = \"{}\"\n", p.url())));
        fs::write(dir.join("region.toml"), config)?;
        self.region.start()?;
        self.region.listens(*port, START_LIMIT)?;
        Ok(())
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The administrator, with a connection of its own.
    pub(crate) fn admin(&self) -> anyhow::Result<Admin> {
        let ca = Certificate::from_pem(fs::read_to_string(self.dir.join("data/ca.pem"))?);
        let tls = ClientTlsConfig::new().ca_certificate(ca).domain_name(tls::SERVER_NAME);
        let endpoint = Endpoint::from_shared(format!("https://{}", self.address()))?.tls_config(tls)?;
        Ok(Admin { channel: endpoint.tcp_nodelay(true).connect_lazy(), bearer: self.bearer.clone() })
    }

    /// The region's costs until now.
    pub(crate) fn cost(&mut self) -> anyhow::Result<Cost> {
        Ok(Process { name: "region".to_owned(), pid: self.region.pid()? }.cost()?)
    }

    /// Processor time of PostgreSQL until now, with all its processes; none if there is none.
    pub(crate) fn database_cpu(&mut self) -> anyhow::Result<Duration> {
        let Some(postgres) = &mut self.postgres else { return Ok(Duration::ZERO) };
        let pid = postgres.server.pid()?;
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let children = children.split_whitespace().filter_map(|child| child.parse().ok());
        let all = children.chain([pid]);
        // A backend that has just ended counts no more, which is why pools are kept.
        Ok(all.filter_map(|pid| Process { name: String::new(), pid }.cost().ok()).map(|cost| cost.cpu).sum())
    }

    /// The `farrier` command of the administrator, logged in.
    pub(crate) fn login(&self) -> anyhow::Result<Cli> {
        let cli = Cli { program: binary("farrier")?, config: self.dir.join("cli.toml") };
        let (ca, token) = (self.dir.join("data/ca.pem"), self.dir.join("token"));
        let mut login = cli.command(&["login", "--server", &self.address()]);
        login.arg("--ca-file").arg(ca).arg("--token-file").arg(token);
        process::succeed(login, START_LIMIT)?;
        Ok(cli)
    }

    /// A real rack that serves the loopback interface, on ports of its own; it enrols with `join_token`.
    pub(crate) fn rack(&self, join_token: &str) -> anyhow::Result<Daemon> {
        let dir = self.dir.join("rack");
        fs::create_dir_all(dir.join("data"))?;
        fs::write(dir.join("join-token"), join_token)?;
        let [service, agents, http] = [free_port()?, free_port()?, free_port()?];
        let config = format!(
            "data_dir = {:?}\njoin_token_file = {:?}\naddress = \"127.0.0.1\"\ninterfaces = [\"lo\"]\n\
             advertise = \"127.0.0.1:{service}\"\nservice_port = {service}\nagent_port = {agents}\nhttp_port = {http}\n\
             dhcp_port = {}\ntftp_port = {}\nloaders_dir = \"/usr/lib/ipxe\"\n",
            dir.join("data"),
            dir.join("join-token"),
            free_port()?,
            free_port()?,
        );
        fs::write(dir.join("rack.toml"), config)?;
        let mut command = Command::new(binary("farrier-rack")?);
        command.arg("--config").arg(dir.join("rack.toml"));
        let mut rack = Daemon::new("farrier-rack", dir.join("rack.log"), command);
        rack.start()?;
        rack.listens(service, START_LIMIT)?;
        Ok(rack)
    }
}

/// The administrator's connection.
#[derive(Clone)]
pub(crate) struct Admin {
    channel: Channel,
    bearer: AsciiMetadataValue,
}

impl Admin {
    pub(crate) fn machines(&self) -> MachinesClient<Channel> {
        MachinesClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES)
    }

    pub(crate) fn events(&self) -> EventsClient<Channel> {
        EventsClient::new(self.channel.clone())
    }

    pub(crate) fn by<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.bearer.clone());
        request
    }
}

/// The `farrier` command.
pub(crate) struct Cli {
    program: PathBuf,
    config: PathBuf,
}

impl Cli {
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("FARRIER_CONFIG", &self.config);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        Ok(process::succeed(self.command(arguments), START_LIMIT)?)
    }
}

/// Options of a request that was never made before.
#[expect(clippy::unnecessary_wraps, reason = "as the field is")]
pub(crate) fn options() -> Option<v1::MutationOptions> {
    Some(v1::MutationOptions { request_id: MachineId::generate().to_string(), ..Default::default() })
}

/// A port that nobody has now.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0").context("there is no free port")?.local_addr()?.port())
}
