//! A power outlet that is switched by HTTP: what a webhook drives.

use std::net::SocketAddr;

use anyhow::ensure;
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    routing::{get, post},
};
use farrier_fleet::{
    chassis::{Cause, Chassis},
    population::{Member, Population},
    truth::Fact,
};
use farrier_integration_tests::{
    assets::System,
    daemons::RegionOptions,
    lab::{Lab, text},
    site::{Site, word},
};
use tokio::net::TcpListener;

use super::LIMIT;

const PORT: u16 = 8080;
const TOKEN: &str = "outlet-token-0d4b9e71";

/// Is the outlet of a machine, at its BMC's address, for whoever has the token.
fn serve(fleet: &Population, member: &Member) -> anyhow::Result<()> {
    let (address, chassis) = (SocketAddr::from((member.bmc, PORT)), member.chassis.clone());
    let switch = |switch: fn(&Chassis, Cause) -> bool| {
        post(async move |State(chassis): State<Chassis>, headers: HeaderMap| {
            let known = known(&headers);
            if known.is_ok() {
                switch(&chassis, Cause::Button);
            }
            known
        })
    };
    let state = async |State(chassis): State<Chassis>, headers: HeaderMap| {
        known(&headers).map(|()| format!("outlet 1 is {}\n", if chassis.is_on() { "closed" } else { "open" }))
    };
    let router = Router::new()
        .route("/outlets/1/on", switch(Chassis::power_on))
        .route("/outlets/1/off", switch(Chassis::power_off))
        .route("/outlets/1", get(state))
        .with_state(chassis);
    // Where the machines are: only their threads are in that namespace.
    let listener = fleet.runtime().block_on(fleet.runtime().spawn(TcpListener::bind(address)))??;
    fleet.runtime().spawn(async move { axum::serve(listener, router).await });
    Ok(())
}

fn known(headers: &HeaderMap) -> Result<(), StatusCode> {
    let told = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok());
    if told == Some(&format!("Bearer {TOKEN}")) { Ok(()) } else { Err(StatusCode::UNAUTHORIZED) }
}

/// A machine lives its whole life by nothing but its outlet.
pub(crate) fn live(lab: &Lab, fleet: &Population) -> anyhow::Result<()> {
    let [member] = fleet.members() else { anyhow::bail!("one machine") };
    serve(fleet, member)?;
    let options = RegionOptions { power_poll_seconds: 1, ..RegionOptions::default() };
    let site = Site::start(lab, &options, System::Mini)?;
    member.switch_on();
    let name = site.enlisted(&member.mac.to_string())?;
    let url = |path: &str| format!("http://{}:{PORT}/outlets/1{path}", member.bmc);
    let (on, off, query) = (url("/on"), url("/off"), url(""));
    let commission = |token: &str, file: &str| -> anyhow::Result<()> {
        let file = text(&lab.write(file, token)?);
        let verb = ["machine", "commission", &name, "--bmc-protocol", "webhook", "--webhook-token-file", &file];
        let urls = ["--webhook-on", &on, "--webhook-off", &off, "--webhook-query", &query];
        let words = ["--webhook-on-regex", "is closed", "--webhook-off-regex", "is open"];
        site.admin.run(&[&verb[..], &urls, &words].concat())?;
        Ok(())
    };
    commission("not-the-token", "wrong-token")?;
    let failed = site.reaches(&name, "failed-commissioning", LIMIT)?;
    ensure!(!failed.to_string().contains("not-the-token"), "{failed}");

    commission(TOKEN, "token")?;
    let shown = site.reaches(&name, "ready", LIMIT)?;
    ensure!(shown["bmc"]["protocol"] == "webhook" && shown["bmc"]["managed_account"] == false, "{shown}");
    site.admin.run(&["machine", "allocate", &name])?;
    site.admin.run(&["machine", "deploy", &name, "--image", System::Mini.name()])?;
    site.reaches(&name, "deployed", LIMIT)?;
    ensure!(member.holds_image(), "deployed, but no disk holds the image");
    let asked = site.admin.json(&["machine", "power", "query", &name])?;
    ensure!(asked["power"] == "on", "{asked}");
    for verb in ["probe", "reset", "rotate"] {
        let (_, said) = site.admin.refused(&["bmc", verb, &name])?;
        ensure!(said.contains("webhook"), "{verb}: {said}");
    }
    site.admin.run(&["machine", "release", &name])?;
    site.reaches(&name, "ready", LIMIT)?;

    let (happened, of) = (member.truth.snapshot(), |fact| member.truth.of(fact));
    ensure!(of(Fact::Install) == 1 && of(Fact::Wipe) == 2, "{happened:?}");
    ensure!(of(Fact::AccountMade) + of(Fact::Login) + of(Fact::LoginRefused) == 0, "{happened:?}");
    let explained = site.explain(&name)?.to_string();
    ensure!(!explained.contains(TOKEN) && !word(&shown, "name").is_empty(), "the token is told");
    Ok(())
}
