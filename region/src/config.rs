//! The region's configuration: `region.toml` becomes a [`Config`] that cannot be wrong.

use std::{
    collections::BTreeMap,
    net::{Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::TimeDelta;
use farrier_common::{
    config::{self, ConfigError},
    name::Name,
};

use crate::{
    app::RateLimit,
    domain::{advance::Deadlines, decide::Rules, lifecycle::State, script::MOST_CHOSEN},
    store::Database,
};

const MOST_EVENT_DAYS: u32 = 36_500;
const MOST_PASSWORD_DAYS: u32 = 3650;

/// The file, as written.
mod wire {
    use std::path::PathBuf;

    use serde::Deserialize;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct File {
        pub(super) data_dir: PathBuf,
        pub(super) database: Option<String>,
        #[serde(default = "listen")]
        pub(super) listen: String,
        pub(super) advertise: String,
        #[serde(default = "power_poll_seconds")]
        pub(super) power_poll_seconds: u64,
        #[serde(default = "require_erase")]
        pub(super) require_erase: bool,
        #[serde(default = "rate_limit_per_second")]
        pub(super) rate_limit_per_second: u32,
        #[serde(default = "rate_limit_burst")]
        pub(super) rate_limit_burst: u32,
        #[serde(default = "ephemeral_image")]
        pub(super) ephemeral_image: String,
        #[serde(default = "bmc_account")]
        pub(super) bmc_account: String,
        #[serde(default)]
        pub(super) bmc_password_days: u32,
        #[serde(default = "event_days")]
        pub(super) event_days: u32,
        #[serde(default)]
        pub(super) default_tests: Vec<String>,
        #[serde(default)]
        pub(super) deadlines: Deadlines,
    }

    #[derive(Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Deadlines {
        pub(super) commissioning_minutes: Option<u32>,
        pub(super) testing_minutes: Option<u32>,
        pub(super) deploying_minutes: Option<u32>,
        pub(super) releasing_minutes: Option<u32>,
        pub(super) entering_rescue_minutes: Option<u32>,
        pub(super) exiting_rescue_minutes: Option<u32>,
        pub(super) boot_minutes: Option<u32>,
        pub(super) boot_tries: Option<u32>,
        pub(super) probe_tries: Option<u32>,
        pub(super) agent_silence_seconds: Option<u32>,
        pub(super) power_off_grace_seconds: Option<u32>,
    }

    fn listen() -> String {
        "0.0.0.0:5240".to_owned()
    }

    const fn power_poll_seconds() -> u64 {
        30
    }

    const fn require_erase() -> bool {
        true
    }

    fn rate_limit_per_second() -> u32 {
        super::RateLimit::default().per_second
    }

    fn rate_limit_burst() -> u32 {
        super::RateLimit::default().burst
    }

    fn ephemeral_image() -> String {
        "ephemeral".to_owned()
    }

    fn bmc_account() -> String {
        "maas".to_owned()
    }

    const fn event_days() -> u32 {
        90
    }
}

/// How this region runs.
#[derive(Clone)]
pub struct Config {
    /// Where everything durable is, but for an outside database.
    pub data_dir: PathBuf,
    /// The machine database.
    pub database: Database,
    /// Where the API is served.
    pub listen: SocketAddr,
    /// `host:port` at which racks and people reach the API.
    pub advertise: String,
    /// The oldest that a machine's power state may be.
    pub power_poll: Duration,
    /// Nobody may give a machine back with its disks as they are.
    pub require_erase: bool,
    /// How often each user may call.
    pub rate: RateLimit,
    /// The image that the agent runs in.
    pub ephemeral_image: Name,
    /// The account that Farrier makes on BMCs.
    pub bmc_account: Name,
    /// How old a password of that account may be; `None`: as old as it likes.
    pub bmc_password_age: Option<TimeDelta>,
    /// How long the event log is kept; `None`: for ever.
    pub events_kept: Option<TimeDelta>,
    /// Tests that a commissioning leads to, unless it is told which.
    pub default_tests: Vec<Name>,
    /// Of working states, where they differ from the table.
    pub deadlines: Deadlines,
    /// Bounds of the engine.
    pub rules: Rules,
}

impl Config {
    /// Reads and checks `path`.
    ///
    /// # Errors
    /// The file cannot be read or parsed; or what is wrong with its values, all of it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        check(config::load(path)?)
    }

    /// The host part of `advertise`.
    #[must_use]
    pub fn advertised_host(&self) -> String {
        host_port(&self.advertise).map_or_else(String::new, |(host, _)| host.to_owned())
    }
}

fn check(file: wire::File) -> Result<Config, ConfigError> {
    let mut wrong = Vec::new();
    let mut bad = |field: &str, why: String| wrong.push(format!("{field}: {why}"));
    let database = match file.database {
        None => Database::Sqlite(file.data_dir.join("farrier.db")),
        Some(url) => {
            if !["postgres://", "postgresql://"].iter().any(|s| url.starts_with(s)) {
                bad("database", "must be postgres://…; leave it out for SQLite in data_dir".to_owned());
            }
            Database::Postgres(url)
        }
    };
    if !file.data_dir.is_absolute() {
        bad("data_dir", format!("{:?} must be an absolute path", file.data_dir));
    }
    let listen = file.listen.parse().unwrap_or_else(|_| {
        bad("listen", format!("{:?} is not ADDRESS:PORT", file.listen));
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
    });
    if host_port(&file.advertise).is_none() {
        bad("advertise", format!("{:?} is not HOST:PORT", file.advertise));
    }
    if !(1..=86_400).contains(&file.power_poll_seconds) {
        bad("power_poll_seconds", "must be 1 to 86400".to_owned());
    }
    if file.bmc_password_days > MOST_PASSWORD_DAYS {
        bad("bmc_password_days", format!("must be 0 (they are not changed) to {MOST_PASSWORD_DAYS}"));
    }
    if file.event_days > MOST_EVENT_DAYS {
        bad("event_days", format!("must be 0 (for ever) to {MOST_EVENT_DAYS}"));
    }
    if file.rate_limit_burst == 0 {
        bad("rate_limit_burst", "must be at least 1; rate_limit_per_second = 0 turns the limit off".to_owned());
    }
    let mut name = |field: &str, text: &str, most: usize| {
        let parsed = text.parse::<Name>().map_err(|e| e.to_string());
        parsed
            .and_then(
                |n| if n.as_str().len() > most { Err(format!("must have at most {most} characters")) } else { Ok(n) },
            )
            .map_err(|e| bad(field, e))
            .ok()
    };
    let ephemeral_image = name("ephemeral_image", &file.ephemeral_image, 63);
    // IPMI keeps 16 bytes of a user name.
    let bmc_account = name("bmc_account", &file.bmc_account, 16);
    let default_tests = default_tests(&file.default_tests, &mut wrong);
    let (deadlines, rules) = (deadlines(&file.deadlines, &mut wrong), rules(&file.deadlines, &mut wrong));
    match (ephemeral_image, bmc_account) {
        (Some(ephemeral_image), Some(bmc_account)) if wrong.is_empty() => Ok(Config {
            data_dir: file.data_dir,
            database,
            listen,
            advertise: file.advertise,
            power_poll: Duration::from_secs(file.power_poll_seconds),
            require_erase: file.require_erase,
            rate: RateLimit { per_second: file.rate_limit_per_second, burst: file.rate_limit_burst },
            ephemeral_image,
            bmc_account,
            bmc_password_age: (file.bmc_password_days > 0).then(|| TimeDelta::days(file.bmc_password_days.into())),
            events_kept: (file.event_days > 0).then(|| TimeDelta::days(file.event_days.into())),
            default_tests,
            deadlines,
            rules,
        }),
        _ => Err(ConfigError::Invalid(wrong)),
    }
}

fn default_tests(given: &[String], wrong: &mut Vec<String>) -> Vec<Name> {
    let mut tests: Vec<Name> = Vec::with_capacity(given.len());
    for text in given {
        match text.parse::<Name>() {
            Ok(name) if tests.contains(&name) => wrong.push(format!("default_tests: {name} is given twice")),
            Ok(name) => tests.push(name),
            Err(e) => wrong.push(format!("default_tests: {text:?}: {e}")),
        }
    }
    if tests.len() > MOST_CHOSEN {
        wrong.push(format!("default_tests: at most {MOST_CHOSEN}"));
    }
    tests
}

fn deadlines(file: &wire::Deadlines, wrong: &mut Vec<String>) -> Deadlines {
    let each = [
        ("commissioning_minutes", State::Commissioning, file.commissioning_minutes),
        ("testing_minutes", State::Testing, file.testing_minutes),
        ("deploying_minutes", State::Deploying, file.deploying_minutes),
        ("releasing_minutes", State::Releasing, file.releasing_minutes),
        ("entering_rescue_minutes", State::EnteringRescue, file.entering_rescue_minutes),
        ("exiting_rescue_minutes", State::ExitingRescue, file.exiting_rescue_minutes),
    ];
    let given = each.into_iter().filter_map(|(field, state, given)| Some((state, minutes(field, given, wrong)?)));
    given.collect::<BTreeMap<_, _>>()
}

fn rules(file: &wire::Deadlines, wrong: &mut Vec<String>) -> Rules {
    let default = Rules::default();
    let boot_timeout = minutes("boot_minutes", file.boot_minutes, wrong).unwrap_or(default.boot_timeout);
    // Less than an agent takes to call again after trouble would take every hiccup for a death.
    let silence = within("agent_silence_seconds", file.agent_silence_seconds, (60, 86_400), wrong);
    let grace = within("power_off_grace_seconds", file.power_off_grace_seconds, (1, 3600), wrong);
    let seconds = |given: Option<u32>| given.map(|n| TimeDelta::seconds(n.into()));
    Rules {
        boot_timeout,
        boot_tries: within("boot_tries", file.boot_tries, (1, 100), wrong).unwrap_or(default.boot_tries),
        probe_tries: within("probe_tries", file.probe_tries, (1, 100), wrong).unwrap_or(default.probe_tries),
        agent_silence: seconds(silence).unwrap_or(default.agent_silence),
        power_off_grace: seconds(grace).unwrap_or(default.power_off_grace),
    }
}

fn within(field: &str, given: Option<u32>, (least, most): (u32, u32), wrong: &mut Vec<String>) -> Option<u32> {
    if given.is_some_and(|n| !(least..=most).contains(&n)) {
        wrong.push(format!("deadlines.{field}: must be {least} to {most}"));
    }
    given
}

fn minutes(field: &str, given: Option<u32>, wrong: &mut Vec<String>) -> Option<TimeDelta> {
    const WEEK: u32 = 7 * 24 * 60;
    let minutes = given?;
    if !(1..=WEEK).contains(&minutes) {
        wrong.push(format!("deadlines.{field}: must be 1 to {WEEK}"));
    }
    Some(TimeDelta::minutes(minutes.into()))
}

/// Host and port of `HOST:PORT` or `[V6]:PORT`.
fn host_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|p| *p != 0)?;
    let (inner, v6) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).map_or((host, false), |h| (h, true));
    let fits = if v6 {
        inner.parse::<Ipv6Addr>().is_ok()
    } else {
        !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
    };
    fits.then_some((inner, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("region.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path)
    }

    #[test]
    fn the_documented_example_is_valid_and_shows_the_defaults() {
        let example =
            Config::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/config/region.toml"))).unwrap();
        let least = parse("data_dir = '/var/lib/farrier-region'\nadvertise = 'region.example:5240'").unwrap();
        assert_eq!(example.listen, least.listen);
        assert_eq!(example.power_poll, least.power_poll);
        assert_eq!(example.require_erase, least.require_erase);
        assert_eq!((example.rate, least.rate), (RateLimit::default(), RateLimit::default()));
        assert_eq!(example.ephemeral_image, least.ephemeral_image);
        assert_eq!(example.bmc_account, least.bmc_account);
        assert_eq!(example.bmc_password_age, least.bmc_password_age);
        assert_eq!(example.events_kept, least.events_kept);
        assert_eq!(example.default_tests, least.default_tests);
        assert_eq!(example.rules, least.rules);
        assert_eq!(example.advertised_host(), "region.example");
        for (state, given) in &example.deadlines {
            assert_eq!(state.deadline().unwrap().as_secs(), u64::try_from(given.num_seconds()).unwrap(), "{state}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let text = "data_dir = 'here'\nadvertise = 'region'\nlisten = 'x'\nbmc_account = 'x234567890-234567'\n\
                    database = 'mysql://x'\npower_poll_seconds = 0\nbmc_password_days = 3651\nevent_days = 36501\ndefault_tests = ['cpu', 'cpu']\n[deadlines]\nboot_minutes = 0\n\
                    boot_tries = 0\nprobe_tries = 101\nagent_silence_seconds = 59\npower_off_grace_seconds = 0\n\
                    testing_minutes = 0\nentering_rescue_minutes = 0\nexiting_rescue_minutes = 10081";
        let told = parse(text).err().unwrap().to_string();
        for field in [
            "data_dir",
            "advertise",
            "listen",
            "bmc_account",
            "database",
            "power_poll_seconds",
            "bmc_password_days",
            "event_days",
            "default_tests: cpu is given twice",
            "deadlines.boot_minutes",
            "deadlines.boot_tries: must be 1 to 100",
            "deadlines.probe_tries",
            "deadlines.agent_silence_seconds: must be 60 to 86400",
            "deadlines.power_off_grace_seconds",
            "deadlines.testing_minutes",
            "deadlines.entering_rescue_minutes",
            "deadlines.exiting_rescue_minutes: must be 1 to 10080",
        ] {
            assert!(told.contains(field), "{field} in {told}");
        }
        assert!(matches!(parse("data_dir = '/x'\nadvertise = 'r:1'\nextra = 1"), Err(ConfigError::Parse { .. })));
    }

    #[test]
    fn hosts_may_be_names_or_addresses() {
        for (text, host) in [("a.b:1", Some("a.b")), ("10.0.0.1:5240", Some("10.0.0.1")), ("[::1]:5", Some("::1"))] {
            assert_eq!(host_port(text).map(|(h, _)| h), host);
        }
        for bad in ["a", ":1", "a:0", "a:b", "::1:5", "a b:1", "[x]:1"] {
            assert!(host_port(bad).is_none(), "{bad}");
        }
    }
}
