//! What came of allocations.

use farrier_proto::v1::{AllocationResult, Machine};
use serde_json::{Value, json};

use super::{
    machines,
    table::{Fit, cell, table},
    words::filled,
};

/// One line about a machine that would be allocated.
pub(crate) fn dry(machine: &Machine) -> String {
    format!("{} would be allocated; nothing is changed", machine.name)
}

/// For programs.
pub(crate) fn json(results: &[AllocationResult], dry_run: bool) -> Value {
    let each = results.iter().map(|r| {
        json!({
            "item": r.item,
            "machine": r.machine.as_ref().map(machines::json),
            "refusal": filled(&r.refusal),
        })
    });
    json!({ "results": each.collect::<Vec<_>>(), "dry_run": dry_run })
}

/// For people: a row for each machine that was asked for.
pub(crate) fn table_of(results: &[AllocationResult], dry_run: bool, width: Option<u16>) -> String {
    let columns = [
        ("MACHINE", Fit::Whole),
        ("CORES", Fit::Spare),
        ("MEMORY", Fit::Spare),
        ("RACK", Fit::Spare),
        ("RESULT", Fit::Wraps),
    ];
    let got = results.iter().filter(|r| r.machine.is_some()).count();
    let held = if dry_run { "would be allocated" } else { "allocated" };
    let rows = results.iter().map(|r| row(r, held)).collect();
    format!("{}\n{got} of {} {held}", table(width, &columns, rows).trim_end(), results.len())
}

fn row(result: &AllocationResult, held: &str) -> Vec<String> {
    let Some(machine) = &result.machine else {
        return vec![cell(None), cell(None), cell(None), cell(None), cell(result.refusal.clone())];
    };
    let status = machine.status.clone().unwrap_or_default();
    let hardware = status.hardware.unwrap_or_default();
    let gib = (hardware.memory_bytes > 0).then(|| format!("{} GiB", hardware.memory_bytes >> 30));
    vec![
        cell(machine.name.clone()),
        cell((hardware.cpu_cores > 0).then(|| hardware.cpu_cores.to_string())),
        cell(gib),
        cell(status.rack),
        cell(held.to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use farrier_proto::v1::{Hardware, MachineStatus};

    use super::*;

    fn sample() -> Vec<AllocationResult> {
        let hardware = Some(Hardware { cpu_cores: 32, memory_bytes: 64 << 30, ..Hardware::default() });
        let status = Some(MachineStatus { rack: "r1".to_owned(), hardware, ..MachineStatus::default() });
        let machine = Machine { name: "n1".to_owned(), status, ..Machine::default() };
        vec![
            AllocationResult { item: 0, machine: Some(machine), refusal: String::new() },
            AllocationResult { item: 0, machine: None, refusal: "12 ready: 12 lack tag gpu".to_owned() },
        ]
    }

    #[test]
    fn for_people() {
        expect![[r"
            MACHINE  CORES  MEMORY  RACK  RESULT
            n1       32     64 GiB  r1    allocated
            -        -      -       -     12 ready: 12 lack tag gpu
            1 of 2 allocated"]]
        .assert_eq(&table_of(&sample(), false, None));
        let narrow = table_of(&sample(), true, Some(30));
        assert!(narrow.lines().all(|line| line.chars().count() <= 30), "{narrow}");
        assert!(narrow.ends_with("1 of 2 would be allocated"), "{narrow}");
    }

    #[test]
    fn for_programs() {
        let told = json(&sample(), true);
        assert_eq!((&told["results"][0]["machine"]["name"], &told["dry_run"]), (&json!("n1"), &json!(true)));
        assert_eq!(told["results"][1]["refusal"], "12 ready: 12 lack tag gpu");
    }
}
