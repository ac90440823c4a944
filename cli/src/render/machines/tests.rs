//! Golden texts: bless with `UPDATE_EXPECT=1 cargo test -p farrier`, then read the difference.

use expect_test::expect;
use farrier_proto::v1::{
    Architecture, BmcEndpoint, BmcProtocol, BootStage, Disk, Exchange, Firmware, MachineState, NetworkInterface, Nic,
    PowerState,
};
use prost_types::Timestamp;

use super::*;

mod programs;
mod rescue;

const NOW: i64 = 1_800_000_000;

fn at(seconds_ago: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: NOW - seconds_ago, nanos: 0 })
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW, 0).unwrap()
}

fn hardware() -> Hardware {
    let disk = |name: &str, serial: &str, rotational| Disk {
        name: name.to_owned(),
        serial: serial.to_owned(),
        model: "ACME Turbo 512".to_owned(),
        size_bytes: 512 << 30,
        rotational,
        bus: "nvme".to_owned(),
        discard: !rotational,
    };
    let nic = |name: &str, mac: &str, carrier| Nic {
        name: name.to_owned(),
        mac: mac.to_owned(),
        driver: "virtio_net".to_owned(),
        carrier,
        speed_mbps: 25_000,
    };
    Hardware {
        vendor: "ACME".to_owned(),
        product: "R1\u{1b}[2J".to_owned(),
        serial: "SN7".to_owned(),
        uuid: "4c4c4544-0000-2010-8020-80c04f202020".to_owned(),
        firmware_version: "2.1".to_owned(),
        cpu_model: "ACME Core".to_owned(),
        cpu_cores: 16,
        memory_bytes: 64 << 30,
        disks: vec![disk("nvme0n1", "D1", false), disk("sda", "D2", true)],
        nics: vec![nic("eth0", "52:54:00:00:00:01", true), nic("eth1", "52:54:00:00:00:02", false)],
        gpus: Vec::new(),
    }
}

fn busy() -> Machine {
    let status = MachineStatus {
        state: MachineState::Deploying.into(),
        phase: "booting".to_owned(),
        reason: "waits for the agent to say hello".to_owned(),
        since: at(75),
        deadline: at(-3525),
        power: PowerState::On.into(),
        power_observed_at: at(4),
        architecture: Architecture::Amd64.into(),
        firmware: Firmware::Uefi.into(),
        rack: "r1".to_owned(),
        interfaces: vec![NetworkInterface {
            mac: "52:54:00:00:00:01".to_owned(),
            address: "10.77.0.20".to_owned(),
            boot: true,
        }],
        hardware: Some(hardware()),
        created_at: at(90_000),
        updated_at: at(3),
        last_erase: vec![DiskErasure {
            disk_serial: "D1".to_owned(),
            disk_name: "nvme0n1".to_owned(),
            size_bytes: 512 << 30,
            method: "discard".to_owned(),
            sampled_bytes: 544 << 20,
            finished_at: at(7200),
        }],
        ..MachineStatus::default()
    };
    let bmc = BmcEndpoint {
        protocol: BmcProtocol::Ipmi.into(),
        address: "10.9.0.7".to_owned(),
        port: 0,
        username: "farrier".to_owned(),
        managed_account: true,
        ..BmcEndpoint::default()
    };
    Machine {
        id: "0199a0f2-0000-7000-8000-000000000001".to_owned(),
        name: "n1".to_owned(),
        intent: Some(MachineIntent {
            owner: "ann".to_owned(),
            image: "debian-13".to_owned(),
            bmc: Some(bmc),
            ..MachineIntent::default()
        }),
        status: Some(status),
        etag: "17".to_owned(),
        labels: [("zone".to_owned(), "a".to_owned())].into(),
    }
}

/// What a region of another version or a bare message could send.
fn bare() -> Machine {
    Machine { id: "0199".to_owned(), name: "n2".to_owned(), ..Machine::default() }
}

#[test]
fn a_list_for_people() {
    expect![[r#"
        NAME  STATE      PHASE    POWER    OWNER  ARCH   MAC                RACK  POOL  ZONE  TAGS  REASON
        n1    deploying  booting  on       ann    amd64  52:54:00:00:00:01  r1    -     -     -     waits for the agent to say hello
        n2    -          -        unknown  -      -      -                  -     -     -     -     -"#]]
    .assert_eq(&list_table(&[busy(), bare()], None));
    expect![[r#"
        NAME  STATE      PHASE    POWER    OWNER  ARCH   REASON
        n1    deploying  booting  on       ann    amd64  waits for the agent to say
                                                         hello
        n2    -          -        unknown  -      -      -"#]]
    .assert_eq(&list_table(&[busy(), bare()], Some(80)));
}

#[test]
fn a_page_for_people() {
    expect![[r#"
        Name:              n1
        Id:                0199a0f2-0000-7000-8000-000000000001
        State:             deploying
        Phase:             booting
        Reason:            waits for the agent to say hello
        Since:             2027-01-15T07:58:45Z (1m15s ago)
        Deadline:          2027-01-15T08:58:45Z (in 58m45s)
        Power:             on, seen 2027-01-15T07:59:56Z (4s ago)
        Owner:             ann
        Image:             debian-13
        Architecture:      amd64
        Firmware:          uefi
        Rack:              r1
        BMC:               ipmi://10.9.0.7, account farrier (made by Farrier)
        Labels:            zone=a
        Created:           2027-01-14T07:00:00Z (1d01h ago)
        Updated:           2027-01-15T07:59:57Z (3s ago)
        System:            ACME R1[2J
        Serial:            SN7
        System UUID:       4c4c4544-0000-2010-8020-80c04f202020
        Firmware version:  2.1
        CPU:               16 x ACME Core
        Memory:            64.00 GiB

        Interfaces
          MAC                ADDRESS     BOOT  NAME  DRIVER      LINK
          52:54:00:00:00:01  10.77.0.20  yes   eth0  virtio_net  25000 Mb/s
          52:54:00:00:00:02  -           -     eth1  virtio_net  down

        Disks
          NAME     SIZE        BUS   KIND      SERIAL  MODEL
          nvme0n1  512.00 GiB  nvme  solid     D1      ACME Turbo 512
          sda      512.00 GiB  nvme  rotating  D2      ACME Turbo 512

        Last erase
          DISK     SERIAL  SIZE        METHOD   READ BACK   FINISHED
          nvme0n1  D1      512.00 GiB  discard  544.00 MiB  2027-01-15T06:00:00Z"#]]
    .assert_eq(&page(&busy(), now(), None));
    expect![[r#"
        Name:          n2
        Id:            0199
        State:         -
        Reason:        -
        Since:         -
        Power:         unknown
        Owner:         -
        Image:         -
        Architecture:  -
        Firmware:      -
        Rack:          -
        BMC:           -
        Created:       -
        Updated:       -

        Interfaces
          MAC  ADDRESS  BOOT  NAME  DRIVER  LINK"#]]
    .assert_eq(&page(&bare(), now(), Some(80)));
}

#[test]
fn one_line_for_people() {
    let lines = [summary(&busy()), summary(&bare()), power_summary(&busy(), now()), power_summary(&bare(), now())];
    expect![[r#"
        n1 is deploying, booting: waits for the agent to say hello
        n2 is in no known state
        n1: power is on, seen 2027-01-15T07:59:56Z (4s ago)
        n2: power is unknown"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
#[expect(clippy::too_many_lines, reason = "the golden text is long")]
fn an_explanation() {
    let entry = |seconds_ago, nanos, kind: &str, text: &str| TimelineEntry {
        at: Some(Timestamp { seconds: NOW - seconds_ago, nanos }),
        kind: kind.to_owned(),
        text: text.to_owned(),
        boot_id: if kind == "dhcp" { "0199b".to_owned() } else { String::new() },
    };
    let explanation = Explanation {
        machine: Some(busy()),
        allowed_verbs: vec!["abort".to_owned(), "power".to_owned()],
        next_step: "wait for the agent".to_owned(),
        next_attempt: at(-5),
        attempts: 2,
        last_error: "BMC 10.9.0.7 did not answer".to_owned(),
        timeline: vec![
            entry(75, 0, "transition", "allocated -> deploying"),
            entry(63, 500_000_000, "dhcp", "ACK 10.77.0.20 (UEFI x86-64, PXE)"),
            entry(63, 900_000_000, "tftp", "snponly.efi 285 KiB in 0.4 s"),
        ],
        reason_code: "booting".to_owned(),
        meaning: "The machine is powered on.".to_owned(),
        remedy: "Nothing: wait.".to_owned(),
        exchanges: vec![Exchange {
            with: "bmc".to_owned(),
            at: at(5),
            text: "tell the power: no answer within 5 s".to_owned(),
        }],
        boot_stages: vec![
            BootStage { stage: "dhcp".to_owned(), began_at: at(63), lasted_ms: 3400 },
            BootStage { stage: "loader".to_owned(), began_at: at(60), lasted_ms: 0 },
        ],
        trouble_since: at(20),
    };
    expect![[r#"
        Machine:        n1
        State:          deploying, booting
        Why:            waits for the agent to say hello
        Reason:         booting: The machine is powered on.
        What to do:     Nothing: wait.
        Since:          2027-01-15T07:58:45Z (1m15s ago)
        Trouble since:  2027-01-15T07:59:40Z (20s ago)
        Deadline:       2027-01-15T08:58:45Z (in 58m45s)
        Allowed now:    abort, power
        Next step:      wait for the agent
        Next attempt:   2027-01-15T08:00:05Z (in 5s)
        Failed tries:   2
        Last error:     BMC 10.9.0.7 did not answer

        Last exchanges
          WITH  TIME                  WHAT
          bmc   2027-01-15T07:59:55Z  tell the power: no answer within 5 s

        Boot
          STAGE   BEGAN                 SECONDS
          dhcp    2027-01-15T07:58:57Z  3.4
          loader  2027-01-15T07:59:00Z  goes on

        Timeline
          TIME                  +SECONDS  KIND        TEXT
          2027-01-15T07:58:45Z  -         transition  allocated -> deploying
          2027-01-15T07:58:57Z  +12.5     dhcp        ACK 10.77.0.20 (UEFI x86-64, PXE)
          2027-01-15T07:58:57Z  +0.4      tftp        snponly.efi 285 KiB in 0.4 s"#]]
    .assert_eq(&explanation_page(&explanation, now(), None));
    let mut value = explanation_json(&explanation);
    value["machine"] = Value::Null;
    expect![[r#"
        {
          "allowed_verbs": [
            "abort",
            "power"
          ],
          "attempts": 2,
          "last_error": "BMC 10.9.0.7 did not answer",
          "machine": null,
          "next_attempt": "2027-01-15T08:00:05Z",
          "next_step": "wait for the agent",
          "timeline": [
            {
              "at": "2027-01-15T07:58:45Z",
              "boot_id": null,
              "kind": "transition",
              "text": "allocated -> deploying"
            },
            {
              "at": "2027-01-15T07:58:57.500Z",
              "boot_id": "0199b",
              "kind": "dhcp",
              "text": "ACK 10.77.0.20 (UEFI x86-64, PXE)"
            },
            {
              "at": "2027-01-15T07:58:57.900Z",
              "boot_id": null,
              "kind": "tftp",
              "text": "snponly.efi 285 KiB in 0.4 s"
            }
          ],
          "why": {
            "boot_stages": [
              {
                "began_at": "2027-01-15T07:58:57Z",
                "lasted_ms": 3400,
                "stage": "dhcp"
              },
              {
                "began_at": "2027-01-15T07:59:00Z",
                "lasted_ms": null,
                "stage": "loader"
              }
            ],
            "exchanges": [
              {
                "at": "2027-01-15T07:59:55Z",
                "text": "tell the power: no answer within 5 s",
                "with": "bmc"
              }
            ],
            "meaning": "The machine is powered on.",
            "reason_code": "booting",
            "remedy": "Nothing: wait.",
            "trouble_since": "2027-01-15T07:59:40Z"
          }
        }"#]]
    .assert_eq(&format!("{value:#}"));
    expect![[r#"
        Machine:      -
        State:        in no known state
        Why:          -
        Since:        -
        Deadline:     -
        Allowed now:  -
        Next step:    -
        Last error:   -

        Timeline
          TIME  +SECONDS  KIND  TEXT"#]]
    .assert_eq(&explanation_page(&Explanation::default(), now(), Some(80)));
}
