use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;
use crate::boot::intent::Target;

fn open(dir: &tempfile::TempDir) -> BootState {
    BootState::open(&dir.path().join("intents")).unwrap()
}

#[test]
fn what_is_put_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (samples::ephemeral(1, "10.77.0.20"), samples::local_disk(2));
    let boot = one.boot_id().unwrap();
    {
        let state = open(&dir);
        assert_eq!((state.snapshot_id(), state.len()), (None, 0));
        assert!(matches!(state.put("s1", one.clone()), Err(PutError::WrongSnapshot { held: None })));
        state.replace(samples::snapshot(vec![one.clone()])).unwrap();
        assert_eq!(state.put("s1", two.clone()).unwrap(), 1);
        assert!(matches!(state.put("s0", two.clone()), Err(PutError::WrongSnapshot { held: Some(_) })));
    }
    let state = open(&dir);
    assert_eq!((state.snapshot_id().as_deref(), state.len()), (Some("s1"), 2));
    assert_eq!(state.subnets()[..], [samples::subnet()]);
    assert_eq!(state.enlist_image().as_deref(), Some(&samples::image()));
    let held = state.by_boot(boot).unwrap();
    assert_eq!(format!("{held:?}"), format!("{one:?}"));
    let (Target::Ephemeral(held), Target::Ephemeral(put)) = (&held.target, &one.target) else { panic!("kind") };
    assert_eq!(held.token.expose(), put.token.expose());
    assert_eq!(state.by_mac(samples::mac(2)).unwrap().machine_id, two.machine_id);
    assert_eq!(state.reservation(samples::mac(1)), Some([10, 77, 0, 20].into()));
    assert_eq!(state.reserved_for([10, 77, 0, 20].into()), Some(samples::mac(1)));
}

#[test]
fn versions_only_grow() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir);
    let new = Intent { version: 7, ..samples::ephemeral(1, "10.77.0.20") };
    let old = Intent { version: 6, ..samples::local_disk(1) };
    state.replace(samples::snapshot(vec![])).unwrap();
    assert_eq!(state.put("s1", new.clone()).unwrap(), 7);
    assert_eq!(state.put("s1", Intent { machine_id: new.machine_id, ..old }).unwrap(), 7);
    assert!(state.by_boot(new.boot_id().unwrap()).is_some());
    let newer = Intent { machine_id: new.machine_id, version: 8, ..samples::local_disk(1) };
    assert_eq!(state.put("s1", newer).unwrap(), 8);
    assert!(state.by_boot(new.boot_id().unwrap()).is_none(), "the boot is over");
    assert_eq!(state.reserved_for([10, 77, 0, 20].into()), None);
}

#[test]
fn a_snapshot_replaces_everything_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir);
    state.replace(samples::snapshot(vec![samples::ephemeral(1, "10.77.0.20")])).unwrap();
    let next = Snapshot { id: "s2".to_owned(), enlist_image: None, ..samples::snapshot(vec![samples::local_disk(2)]) };
    state.replace(next).unwrap();
    for state in [state, open(&dir)] {
        assert_eq!((state.snapshot_id().as_deref(), state.len()), (Some("s2"), 1));
        assert!(state.by_mac(samples::mac(1)).is_none());
        assert!(state.enlist_image().is_none());
        assert_eq!(state.boot_blob(&samples::image().kernel.sha256), None);
    }
    let folder = dir.path().join("intents");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "pointer and one generation");
    assert_eq!(fs::metadata(folder.join("generation-2")).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_snapshot_that_was_not_finished_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    open(&dir).replace(samples::snapshot(vec![samples::local_disk(1)])).unwrap();
    let half = dir.path().join("intents/generation-2");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("header.json"), "{").unwrap();
    let state = open(&dir);
    assert_eq!((state.snapshot_id().as_deref(), state.len()), (Some("s1"), 1));
    assert!(!half.exists());
    state.replace(samples::snapshot(vec![])).unwrap();
    assert_eq!(open(&dir).len(), 0);
}

#[test]
fn a_broken_file_costs_one_machine_and_asks_for_a_sync() {
    let dir = tempfile::tempdir().unwrap();
    let broken = samples::local_disk(1);
    open(&dir).replace(samples::snapshot(vec![broken.clone(), samples::local_disk(2)])).unwrap();
    let path = dir.path().join(format!("intents/generation-1/machine-{}.json", broken.machine_id));
    fs::write(path, "{\"machine_id\":1}").unwrap();
    let state = open(&dir);
    assert_eq!((state.snapshot_id(), state.len()), (None, 1));
    assert!(state.enlist_image().is_none(), "the broken one must not be taken for a new machine");
    assert_eq!(state.subnets().len(), 1);
}

#[test]
fn removal_lasts_and_may_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir);
    let intent = samples::ephemeral(1, "10.77.0.20");
    state.remove(intent.machine_id).unwrap();
    state.replace(samples::snapshot(vec![intent.clone()])).unwrap();
    state.remove(intent.machine_id).unwrap();
    state.remove(intent.machine_id).unwrap();
    assert!(state.is_empty() && open(&dir).is_empty());
    assert!(state.boot_blob(&samples::image().initrd.sha256).is_some(), "still the enlist image's");
}

#[test]
fn an_interface_belongs_to_the_intent_put_last() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir);
    let (first, second) = (samples::local_disk(1), samples::local_disk(1));
    state.replace(samples::snapshot(vec![first.clone()])).unwrap();
    state.put("s1", second.clone()).unwrap();
    state.remove(first.machine_id).unwrap();
    assert_eq!(state.by_mac(samples::mac(1)).unwrap().machine_id, second.machine_id);
}

#[test]
fn ten_thousand_intents_are_fine() {
    let dir = tempfile::tempdir().unwrap();
    let address = |n: u16| format!("10.80.{}.{}", n / 250, n % 250 + 1);
    let intents = (0..10_000).map(|n| samples::ephemeral(n, &address(n))).collect();
    open(&dir).replace(samples::snapshot(intents)).unwrap();
    let state = open(&dir);
    assert_eq!(state.len(), 10_000);
    assert_eq!(state.reservation(samples::mac(9_999)), address(9_999).parse().ok());
}
