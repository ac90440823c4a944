//! The region's program, which is killed and started again.

use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
    time::Duration,
};

use diesel::{Connection as _, QueryableByName, RunQueryDsl as _, SqliteConnection, sql_query, sql_types};
use farrier_common::{clock::Clock, secret::random_bytes, tls};
use farrier_region::store::{Database, Store};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

/// A region and its folder.
pub(crate) struct Region {
    dir: TempDir,
    address: SocketAddr,
    child: Child,
    deaths: usize,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = sql_types::Text)]
    name: String,
    #[diesel(sql_type = sql_types::BigInt)]
    count: i64,
}

impl Region {
    pub(crate) async fn start() -> Self {
        tls::install_provider();
        let dir = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let text = format!("data_dir = {:?}\nlisten = '{address}'\nadvertise = '{address}'\n", dir.path().join("data"));
        fs::write(dir.path().join("region.toml"), text).unwrap();
        let child = spawn(dir.path());
        let mut region = Self { dir, address, child, deaths: 0 };
        region.answers().await;
        region
    }

    pub(crate) fn channel(&self) -> Channel {
        let ca = fs::read_to_string(self.dir.path().join("data/ca.pem")).unwrap();
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)).domain_name(tls::SERVER_NAME);
        Endpoint::from_shared(format!("https://{}", self.address)).unwrap().tls_config(tls).unwrap().connect_lazy()
    }

    pub(crate) fn admin(&self) -> String {
        fs::read_to_string(self.dir.path().join("admin-token")).unwrap().trim().to_owned()
    }

    pub(crate) const fn deaths(&self) -> usize {
        self.deaths
    }

    /// Does the work while the region is killed and started again; so often at least, at random moments.
    pub(crate) async fn while_it_dies(&mut self, times: usize, work: impl Future<Output = ()>) {
        tokio::pin!(work);
        let mut died = 0;
        loop {
            let [byte] = random_bytes::<1>();
            let moment = tokio::time::sleep(Duration::from_millis(2 * u64::from(byte)));
            tokio::select! {
                () = &mut work => break,
                () = moment, if died < 3 * times => {}
            }
            // While it is away the work goes on asking.
            let back = async {
                self.kill().await;
                self.again().await;
            };
            tokio::pin!(back);
            let ended = tokio::select! {
                () = &mut back => false,
                () = &mut work => true,
            };
            died += 1;
            if ended {
                back.await;
                break;
            }
        }
        for _ in died..times {
            self.kill().await;
            self.again().await;
        }
    }

    /// Does something with the database while no region runs.
    pub(crate) async fn stopped(&mut self, work: impl AsyncFnOnce(Store)) {
        self.kill().await;
        let store = Store::open(&Database::Sqlite(self.database()), Clock::System).await.unwrap();
        work(store).await;
        self.again().await;
    }

    /// How many rows each table has, and of each machine the version and state.
    pub(crate) fn rows(&self) -> BTreeMap<String, i64> {
        let mut conn = SqliteConnection::establish(self.database().to_str().unwrap()).unwrap();
        let tables = "SELECT name, 0 AS count FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'";
        let tables: Vec<Count> = sql_query(tables).load(&mut conn).unwrap();
        let mut rows = BTreeMap::new();
        for Count { name, .. } in tables {
            let found: Count = sql_query(format!("SELECT '{name}' AS name, count(*) AS count FROM {name}"))
                .get_result(&mut conn)
                .unwrap();
            rows.insert(found.name, found.count);
        }
        let machines = "SELECT 'machine ' || name || ' ' || state || ' ' || coalesce(owner, '') AS name, \
                        version AS count FROM machines";
        rows.extend(sql_query(machines).load::<Count>(&mut conn).unwrap().into_iter().map(|c| (c.name, c.count)));
        rows
    }

    fn database(&self) -> std::path::PathBuf {
        self.dir.path().join("data/farrier.db")
    }

    async fn kill(&mut self) {
        self.child.kill().await.unwrap();
        self.deaths += 1;
    }

    async fn again(&mut self) {
        self.child = spawn(self.dir.path());
        self.answers().await;
    }

    async fn answers(&mut self) {
        let wait = async {
            while TcpStream::connect(self.address).await.is_err() {
                assert!(self.child.try_wait().unwrap().is_none(), "the region ended: {}", self.dir.path().display());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the region listens in time");
    }
}

fn spawn(dir: &Path) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_farrier-region"))
        .arg("--config")
        .arg(dir.join("region.toml"))
        .arg("--admin-token-file")
        .arg(dir.join("admin-token"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}
