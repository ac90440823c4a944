use super::*;
use crate::redfish::{Fault, FaultRule};

fn chosen(selector: &str) -> Vec<u32> {
    let selector: Selector = selector.parse().unwrap();
    let vendors = ["dell", "hpe"];
    (1..=20_u32)
        .filter(|n| {
            let (vendor, firmware) = (vendors[*n as usize % 2], if *n > 10 { "uefi" } else { "bios" });
            selector.chooses(Target { number: *n, vendor, firmware, seed: 1 })
        })
        .collect()
}

#[test]
fn selectors_choose_machines() {
    assert_eq!(chosen("all").len(), 20);
    assert_eq!((chosen("m3"), chosen("m2,m7,m9-m11")), (vec![3], vec![2, 7, 9, 10, 11]));
    assert_eq!((chosen("every=7"), chosen("m1-m5&vendor=hpe"), chosen("m99")), (vec![7, 14], vec![1, 3, 5], vec![]));
    assert_eq!((chosen("firmware=uefi").len(), chosen("share=0%").len(), chosen("share=100%").len()), (10, 0, 20));
    let some = chosen("share=30%");
    assert!(!some.is_empty() && some.len() < 15 && some == chosen("share=30%"), "{some:?}");
}

#[test]
fn a_plan_is_read() {
    let plan = FaultPlan::parse(
        "# a plan\n\nm1 black-hole\nall bmc-refuse code=0xc0 on=0x00/0x02 x2 # busy\nm2 disk-fails on=erase disk=2\n\
         m1-m3 clock-skew by=-10m x1\nm4 swap-bmc with=m5\n",
    );
    let plan = plan.unwrap();
    assert_eq!(plan.0.len(), 5);
    assert_eq!(plan.0[1].count, Some(2));
    let fault = crate::machine::fault::Fault::ClockSkew { seconds: -600 };
    assert_eq!(plan.0[3].action, Action::Machine(fault));
    assert_eq!(plan.0[4].action, Action::SwapBmc { with: 5 });
}

#[test]
fn faults_of_redfish_are_read_and_some_meet_both_faces() {
    let plan = FaultPlan::parse(
        "m1 redfish-503 on=power-writes retry-after=1500ms x2\nm1 redfish-delay by=2s on=/redfish/v1/Chassis/ for=1m\n\
         m1 black-hole\nm1 bmc-reset for=3m\nm1 bmc-silent\n",
    );
    let lines = plan.unwrap().0;
    let rule = |n: usize| {
        let Action::Redfish { rule, lasts } = &lines[n].action else { panic!("{:?}", lines[n]) };
        (rule.clone(), lasts.map(|l| l.as_secs()), lines[n].count)
    };
    let text = |text: &str| Some(text.to_owned());
    let (method, path) = (text("POST"), text("*/Actions/ComputerSystem.Reset"));
    let fault = Fault::Unavailable { retry_after: 2 };
    assert_eq!(rule(0), (FaultRule { method, path, fault, count: None }, None, Some(2)));
    let (path, fault) = (text("/redfish/v1/Chassis"), Fault::Delay { ms: 2000 });
    assert_eq!(rule(1), (FaultRule { method: None, path, fault, count: None }, Some(60), None));
    let beside = |n: usize| {
        let Action::Bmc { redfish, .. } = &lines[n].action else { panic!("{:?}", lines[n]) };
        redfish.clone()
    };
    let unavailable = Some(Fault::Unavailable { retry_after: 180 });
    assert_eq!((beside(2), beside(3), beside(4)), (Some(Fault::BlackHole), unavailable, None));
}

#[test]
fn every_action_can_be_said_and_says_what_it_lacks() {
    for name in action::Name::ALL {
        let all = "m1 NAME on=erase for=5s code=0xc0 by=5s share=10% at=50% stage=task nic=2 as=m2 with=m3 status=500 retry-after=1m";
        let keys: Vec<_> = Action::keys(name.as_str()).split_whitespace().map(|k| k.trim_end_matches(',')).collect();
        let mut line: Vec<_> =
            all.split(' ').filter(|w| !w.contains('=') || keys.iter().any(|k| w.starts_with(k))).collect();
        line[1] = name.as_str();
        if !matches!(name, action::Name::DiskFails) {
            line.retain(|w| !w.starts_with("on="));
        }
        let line = line.join(" ");
        assert!(FaultPlan::parse(&line).is_ok(), "{line}: {:?}", FaultPlan::parse(&line));
    }
}

#[test]
fn what_is_wrong_is_named_with_what_is_allowed() {
    let wrong = |text: &str| FaultPlan::parse(text).unwrap_err().to_string();
    assert_eq!(
        wrong("\nm0 black-hole"),
        format!("line 2: which machines: \"m0\" {}", {
            "must be all, m3, m1-m5, m2,m7, every=10, vendor=dell, firmware=uefi or share=5%, or several joined by &"
        })
    );
    assert!(wrong("all burn").starts_with("line 1: \"burn\" is not one of black-hole, bmc-reset, "));
    assert_eq!(wrong("all drop-packets"), "line 1: share= is missing");
    assert_eq!(wrong("all disk-fails on=sight"), "line 1: on: \"sight\" must be one of write, read-back, erase");
    assert_eq!(
        wrong("all disk-fails on=erase by=5s"),
        "line 1: \"by=5s\" is not known here; allowed is on= disk= xCOUNT"
    );
    assert_eq!(wrong("m1 same-uuid as=m2 x2"), "line 1: same-uuid is how machines are made: it takes no count");
    assert_eq!(wrong("m1 bmc-reset"), "line 1: for= is missing: how long a BMC takes to start");
    assert_eq!(wrong("m1 redfish-refuse status=200"), "line 1: status: \"200\" must be an HTTP status from 400 to 599");
    assert!(wrong("m1 redfish-503 on=ping").starts_with("line 1: on: \"ping\" must be one of any, reads, logins, "));
    assert_eq!(
        wrong("m1 redfish-503 status=503"),
        "line 1: \"status=503\" is not known here; allowed is retry-after= on= for= xCOUNT"
    );
    assert_eq!(wrong("m1 bmc-refuse code=c0"), "line 1: code: \"c0\" must be a byte such as 0xc0");
}
