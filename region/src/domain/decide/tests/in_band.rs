//! The account that is made from inside the machine.

use super::*;

#[test]
fn an_account_that_nobody_knows_is_made_from_inside() {
    let mut m = machine(State::Commissioning, None);
    m.details.bmc = None;
    m.details.in_band = Some(InBand::default());
    let (event, after) = run(m);
    assert_eq!(event, Event::Done);
    let bmc = after.details.bmc.expect("it was made");
    assert_eq!((bmc.managed, bmc.username.as_str(), bmc.address.to_string().as_str()), (true, "maas", "10.0.0.8"));
    assert_eq!(after.details.in_band, None, "the next commissioning knows it");
}

#[test]
fn nobody_waits_for_ever_to_be_switched_on() {
    let mut m = machine(State::Commissioning, Some(Phase::BmcInBand));
    m.details.published = Some(m.boot_target());
    let told = |seen: &Observation| show(&decide(&m, seen, &Rules::default(), at(60)));
    let alone = Observation { power: None, ..with_task(TaskKind::BmcAccount, TaskStatus::Pending) };
    let off = Observation { boot: alone.boot.clone().map(|b| BootSeen { hello: false, ..b }), ..alone.clone() };
    assert!(told(&off).contains("switch the machine on"), "{}", told(&off));
    assert!(told(&alone).contains("about to do bmc-account"), "{}", told(&alone));
    let anew = Observation { boot: alone.boot.clone().map(|b| BootSeen { restarted: true, ..b }), ..alone.clone() };
    assert!(told(&anew).starts_with("enter bmc-in-band"), "{}", told(&anew));
    let failed = with_task(TaskKind::BmcAccount, TaskStatus::Failed("no IPMI device".to_owned()));
    assert_eq!(told(&failed), "move fail: the agent could not do bmc-account: no IPMI device");
    m.deadline = Some(at(50));
    let late = decide(&m, &off, &Rules::default(), at(60));
    assert!(matches!(late, Decision::Move { event: Event::Timeout, .. }), "{late:?}");
}
