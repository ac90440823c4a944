//! What is told of a machine that people can log in to.

use super::*;

#[test]
fn who_logs_in_is_told_where_and_to_what() {
    let status = MachineStatus {
        state: MachineState::Rescue.into(),
        rescue_address: "10.77.0.20:22".to_owned(),
        rescue_host_key: "SHA256:+DiY3wvv".to_owned(),
        ..MachineStatus::default()
    };
    let machine = Machine { status: Some(status), ..bare() };
    let explained = Explanation { machine: Some(machine.clone()), ..Explanation::default() };
    for page in [page(&machine, now(), None), explanation_page(&explained, now(), None)] {
        let lines: Vec<_> = page.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        for wanted in ["SSH: ssh root@10.77.0.20", "Host key: SHA256:+DiY3wvv"] {
            assert!(lines.iter().any(|line| line == wanted), "{wanted} is not told:\n{page}");
        }
    }
    assert_eq!(json(&machine)["rescue_host_key"], "SHA256:+DiY3wvv");
}
