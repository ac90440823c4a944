//! Leaving a BMC as it was, and asking a system to shut down.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use farrier_common::hardware::PowerState;
use farrier_rack::bmc::{BmcError, Bmcs, Login, account::Ensured, ipmi::lanplus::Pace};
use tokio::net::UdpSocket;

use crate::{
    NAME, PASSWORD, PATIENCE, account, bmcs,
    proxy::{Proxy, Weather},
    sim::Sim,
    users,
};

/// Does ipmitool get in with the account?
fn works(sim: &Sim, name: &str, password: &str, level: &str) -> bool {
    sim.ipmitool(name, password, &["-L", level, "chassis", "power", "status"]).status.success()
}

/// The operator's account, which is none of our business, is as it was.
fn others_work(sim: &Sim) -> bool {
    works(sim, "oper", "sesame", "OPERATOR") && works(sim, "root", "calvin", "ADMINISTRATOR")
}

#[tokio::test]
async fn an_account_that_was_made_is_removed_and_no_other_changes() {
    let (sim, bmcs) = (Sim::start().await, bmcs());
    let before = users(&sim);
    // By itself, as the region does it, and by the administrator that it was made with.
    for own in [true, false] {
        let made = bmcs.ensure_account(&sim.admin(), &account(PASSWORD)).await.unwrap();
        assert_eq!(made, Ensured { slot: 3, created: true }, "its slot was left free");
        assert!(works(&sim, NAME, PASSWORD, "ADMINISTRATOR"));
        assert_ne!(users(&sim), before);
        let login = if own { sim.login(NAME, PASSWORD) } else { sim.admin() };
        assert_eq!(bmcs.remove_account(&login, NAME).await, Ok(true));
        assert!(!works(&sim, NAME, PASSWORD, "USER") && others_work(&sim));
        let refused = bmcs.power(&sim.login(NAME, PASSWORD)).await.unwrap_err();
        assert!(matches!(refused, BmcError::Refused(_)), "{refused}");
        assert_eq!(names(&users(&sim)), names(&before));
        // What is gone already is no failure.
        assert_eq!(bmcs.remove_account(&login, NAME).await, Ok(false));
    }
}

/// Slots and names; a slot that was used tells its former access no differently from one that never was, but for its name.
fn names(users: &[String]) -> Vec<String> {
    let named = |line: &String| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    users.iter().map(named).filter(|line| !line.ends_with("true") && !line.ends_with("false")).collect()
}

#[tokio::test]
async fn a_bad_network_does_no_harm_to_who_leaves() {
    let sim = Sim::start().await;
    let pace =
        Pace { first: Duration::from_millis(30), most: Duration::from_millis(300), deadline: Duration::from_secs(8) };
    let bmcs = Bmcs::with_times(pace, PATIENCE);
    let before = users(&sim);
    bmcs.ensure_account(&sim.admin(), &account(PASSWORD)).await.unwrap();
    let weather = Weather { lost: 10, doubled: 15, ..Weather::default() };
    let proxy = Proxy::start(sim.address, weather).await;
    let login = Login { address: proxy.address, ..sim.login(NAME, PASSWORD) };
    bmcs.remove_account(&login, NAME).await.unwrap();
    assert!(!works(&sim, NAME, PASSWORD, "USER") && others_work(&sim));
    assert_eq!(names(&users(&sim)), names(&before));
}

#[tokio::test]
async fn what_cannot_be_removed_is_told_and_stays() {
    let (sim, bmcs) = (Sim::start().await, bmcs());
    bmcs.ensure_account(&sim.admin(), &account(PASSWORD)).await.unwrap();
    let before = users(&sim);
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let away = Login { address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, closed), ..sim.login(NAME, PASSWORD) };
    let error = bmcs.remove_account(&away, NAME).await.unwrap_err();
    assert!(matches!(error, BmcError::Unreachable(_)), "{error}");
    let error = bmcs.remove_account(&sim.login("root", "letmein"), NAME).await.unwrap_err();
    assert!(matches!(error, BmcError::Refused(_)), "somebody else's login says nothing about ours: {error}");
    assert_eq!(users(&sim), before);
    assert!(works(&sim, NAME, PASSWORD, "ADMINISTRATOR"));
}

#[tokio::test]
async fn a_system_is_asked_to_shut_down_and_its_power_is_left_alone() {
    let (sim, bmcs) = (Sim::start().await, bmcs());
    bmcs.soft_off(&sim.admin()).await.unwrap();
    assert_eq!(sim.chassis("log"), "", "what is off is not asked");
    bmcs.set_power(&sim.admin(), PowerState::On).await.unwrap();
    let before = sim.chassis("log");
    bmcs.soft_off(&sim.admin()).await.unwrap();
    assert_eq!(sim.chassis("log"), format!("{before}\nshutdown 1"));
    // Whether it obeys is its own affair.
    assert_eq!((sim.power(), bmcs.power(&sim.admin()).await), (PowerState::On, Ok(PowerState::On)));
    fs::write(sim.dir.path().join("power"), "0").unwrap();
    bmcs.soft_off(&sim.admin()).await.unwrap();
    assert_eq!(sim.chassis("log"), format!("{before}\nshutdown 1"), "once");
    let error = bmcs.soft_off(&sim.login("root", "letmein")).await.unwrap_err();
    assert!(matches!(error, BmcError::Refused(_)), "{error}");
}
