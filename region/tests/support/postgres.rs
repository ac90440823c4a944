//! A throw-away PostgreSQL for this test process: one cluster, one database per test, on a Unix socket only.
//!
//! PostgreSQL refuses to run as root, so root drops to the user `postgres`. A shell supervises it and waits for the end
//! of a pipe that this process holds: however the tests end, the server stops and its folder goes away.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use diesel::{Connection as _, PgConnection, RunQueryDsl as _};

/// Durability is not what the tests are about.
const SUPERVISE: &str = r#"
"$0"/postgres -D "$1/data" -k "$1" -c listen_addresses= -c fsync=off -c synchronous_commit=off \
    -c full_page_writes=off -c max_connections=200 -c shared_buffers=16MB >"$1/log" 2>&1 </dev/null &
server=$!
read -r _
kill -INT "$server"
wait "$server"
rm -rf "$1"
"#;

struct Cluster {
    dir: PathBuf,
    /// Held for the pipe to its standard input, which ends with this process.
    _supervisor: Child,
}

static CLUSTER: OnceLock<Cluster> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The URL of a new, empty database.
pub(crate) fn database() -> String {
    let cluster = CLUSTER.get_or_init(start);
    let name = format!("test{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    let mut conn = PgConnection::establish(&url(&cluster.dir, "postgres")).unwrap();
    diesel::sql_query(format!("CREATE DATABASE {name}")).execute(&mut conn).unwrap();
    url(&cluster.dir, &name)
}

fn url(dir: &Path, name: &str) -> String {
    format!("postgres:///{name}?host={}&user=postgres", dir.display())
}

fn start() -> Cluster {
    let programs = programs();
    // Not under the target folder: the user postgres must be able to reach it, and a socket's path is short.
    let dir = std::env::temp_dir().join(format!("farrier-pg-{}", std::process::id()));
    let made = unprivileged("mkdir").arg("-m").arg("700").arg(&dir).status().unwrap();
    assert!(made.success(), "cannot make {}", dir.display());
    let mut initdb = unprivileged(programs.join("initdb").to_str().unwrap());
    initdb.args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "-D"]);
    let made = initdb.arg(dir.join("data")).output().unwrap();
    assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
    let mut shell = unprivileged("sh");
    shell.args(["-c", SUPERVISE]).arg(&programs).arg(&dir).stdin(Stdio::piped());
    let supervisor = shell.spawn().unwrap();
    wait_for(&dir);
    Cluster { dir, _supervisor: supervisor }
}

/// The server answers, within a bound.
fn wait_for(dir: &Path) {
    let begun = Instant::now();
    let mut refused = String::new();
    while begun.elapsed() < Duration::from_secs(30) {
        match PgConnection::establish(&url(dir, "postgres")) {
            Ok(_) => return,
            Err(e) => refused = e.to_string(),
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
    panic!("PostgreSQL did not start: {refused}\n{log}");
}

/// Debian keeps the programs of each release apart.
fn programs() -> PathBuf {
    let releases = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|e| e.path().join("bin"));
    let newest = releases.filter(|bin| bin.join("initdb").exists()).max();
    newest.expect("PostgreSQL is needed for the tests of the store: apt install postgresql")
}

fn unprivileged(program: &str) -> Command {
    let uid = Command::new("id").arg("-u").output().unwrap();
    let mut command;
    if uid.stdout == b"0\n" {
        command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", program]);
    } else {
        command = Command::new(program);
    }
    command.current_dir("/");
    command
}
