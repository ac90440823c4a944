//! Machines that people switch.

use super::*;

fn by_hand(state: State, phase: Option<Phase>) -> Machine {
    let mut m = machine(state, phase);
    (m.details.bmc, m.details.manual) = (None, true);
    m.details.published = Some(m.boot_target());
    m
}

fn unknown() -> Observation {
    Observation { power: None, ..seen(PowerState::On) }
}

#[test]
fn people_are_asked_for_what_a_bmc_would_do() {
    use Phase as P;
    let m = |phase| by_hand(State::Commissioning, phase);
    check(
        &m(None),
        &Observation::default(),
        1,
        expect!["enter power-off: its BMC is taken in charge and its hardware is learnt"],
    );
    let anew = expect![
        "wait 15 s: start the machine anew and let it boot from the network; or switch it off and tell it, then on (farrier \
         machine tell-power m1 on|off)"
    ];
    assert_eq!(show(&decide(&m(Some(P::PowerOff)), &unknown(), &Rules::default(), at(1))), anew.data());
    check(&m(Some(P::PowerOff)), &seen(PowerState::On), 1, anew);
    check(&m(Some(P::PowerOff)), &seen(PowerState::Off), 1, expect!["enter boot: the machine is off"]);
    let hello = Observation { boot: Some(BootSeen { hello: true, ..BootSeen::default() }), ..seen(PowerState::On) };
    check(&m(Some(P::PowerOff)), &hello, 1, expect!["enter boot: the machine was started anew"]);
    check(&m(Some(P::Boot)), &hello, 1, expect!["enter inventory: the agent is there"]);
    check(
        &m(Some(P::Boot)),
        &seen(PowerState::Off),
        1,
        expect![
            "wait 15 s: switch the machine on and let it boot from the network: its agent is waited for (farrier machine \
             tell-power m1 on|off)"
        ],
    );
    check(
        &m(Some(P::Finish)),
        &with_task(TaskKind::PowerOff, TaskStatus::Pending),
        1,
        expect![
            "wait 15 s: the agent was told to power off: see that the machine is off, and tell it (farrier machine tell-power m1 \
             on|off)"
        ],
    );
    let mut m = by_hand(State::Deploying, Some(P::StartOs));
    m.details.published = Some(m.boot_target());
    let on = "switch the machine on, and tell it: it boots from its disk, by way of the network";
    let why = decide(&m, &seen(PowerState::Off), &Rules::default(), at(1));
    assert!(
        matches!(&why, Decision::Wait { why, .. } if why.code == Code::SwitchOn && why.text.contains(on)),
        "{why:?}"
    );
    check(&m, &seen(PowerState::On), 1, expect!["enter await-os: the machine boots from its disk"]);
}

#[test]
fn what_is_to_be_booted_is_published_before_somebody_starts_the_machine() {
    let mut m = by_hand(State::Releasing, Some(Phase::PowerOff));
    m.details.published = Some(BootTarget::LocalDisk);
    check(&m, &unknown(), 1, expect!["do: publish the boot intent"]);
}

#[test]
fn a_boot_takes_its_time_from_when_it_was_switched_on() {
    let mut m = by_hand(State::Releasing, Some(Phase::Boot));
    let told = |m: &Machine, seen: &Observation, now| show(&decide(m, seen, &Rules::default(), at(now)));
    m.power = Some((PowerState::Off, at(0)));
    assert!(told(&m, &seen(PowerState::Off), 1200).contains("switch the machine on"), "nobody was in a hurry");
    m.power = Some((PowerState::On, at(1000)));
    assert_eq!(told(&m, &seen(PowerState::On), 1590), "wait 10 s: booting the ephemeral image: waiting for its agent");
    assert!(told(&m, &seen(PowerState::On), 1600).starts_with("enter power-off: no agent within 10 minutes"));
    m.deadline = Some(at(1500));
    let late = decide(&m, &seen(PowerState::Off), &Rules::default(), at(1600));
    assert!(matches!(late, Decision::Move { event: Event::Timeout, .. }), "{late:?}");
}

#[test]
fn only_a_machine_that_is_on_is_heard() {
    let (off, on) = (PowerState::Off, PowerState::On);
    let came = |secs| Signs { came: Some(at(secs)), heard: Some(at(secs)) };
    assert_eq!(power_by_hand(None, Signs::default()), None);
    assert_eq!(power_by_hand(None, came(1)), Some(on));
    assert_eq!(power_by_hand(Some((off, at(5))), came(4)), Some(off));
    assert_eq!(power_by_hand(Some((off, at(5))), came(6)), Some(on));
    let heard = |secs| Signs { came: Some(at(1)), heard: Some(at(secs)) };
    assert_eq!(power_by_hand(Some((off, at(5))), heard(30)), Some(off), "heartbeats are written late");
    assert_eq!(power_by_hand(Some((off, at(5))), heard(36)), Some(on), "it is not off");
}
