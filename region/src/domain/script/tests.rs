use super::*;
use crate::domain::testing::at;

fn known() -> Vec<Known> {
    let one = |name: &str, kind, size| Known { name: name.parse().unwrap(), kind, size };
    vec![
        one("raid", ScriptKind::Commissioning, 10),
        one("burn-in", ScriptKind::Test, 10),
        one("big-1", ScriptKind::Test, MOST_TOGETHER),
    ]
}

fn list(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

fn chosen(scripts: &[&str], tests: &[&str]) -> Chosen {
    Chosen { scripts: list(scripts), tests: list(tests), ..Chosen::default() }
}

#[test]
fn what_is_chosen_must_be_there_and_of_the_right_kind() {
    let told = |scripts: &[&str], tests: &[&str]| {
        chosen(scripts, tests).resolve(&known(), &[]).map(|w| (w.scripts, w.tests)).map_err(|e| e.to_string())
    };
    let (scripts, tests) = told(&["raid"], &["burn-in", "cpu"]).unwrap();
    assert_eq!((scripts.len(), tests.len()), (1, 2));
    for (scripts, tests, wanted) in [
        (&["gone"][..], &[][..], "commission.scripts[0]: there is no script \"gone\""),
        (&["burn-in"], &[], "commission.scripts[0]: burn-in is of kind test, not commissioning"),
        (&["cpu"], &[], "commission.scripts[0]: cpu is a test, not a commissioning script"),
        (&[], &["cpu", "raid"], "commission.tests[1]: raid is of kind commissioning, not test"),
        (&[], &["cpu", "cpu"], "commission.tests[1]: cpu is given twice"),
        (&[], &["none", "cpu"], "commission.tests[0]: there is no script \"none\""),
        (&[], &["a"; 17], "commission.tests: at most 16 at once"),
    ] {
        assert_eq!(told(scripts, tests).unwrap_err(), wanted);
    }
    assert!(
        told(&[], &["big-1", "burn-in"]).unwrap_err().starts_with("commission.tests: the scripts have 2097162 bytes")
    );
    assert!(told(&[], &["B A D"]).unwrap_err().starts_with("commission.tests[0]: "));
}

#[test]
fn tests_of_the_configuration_count_unless_others_are_named() {
    let default: Vec<Name> = vec!["memory".parse().unwrap(), "burn-in".parse().unwrap()];
    let with = |tests: &[&str]| chosen(&[], tests).resolve(&known(), &default).unwrap().tests;
    assert_eq!(with(&[]), default);
    assert_eq!(with(&["cpu"]), ["cpu".parse().unwrap()]);
    assert!(with(&["none"]).is_empty());
    let gone = chosen(&[], &[]).resolve(&[], &default).unwrap_err().to_string();
    assert!(gone.starts_with("default_tests of the region's configuration names \"burn-in\""), "{gone}");
}

#[test]
fn with_no_names_all_built_in_tests_run() {
    let names: Vec<String> = tests(&[], &[]).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["cpu", "memory", "disk-read", "network"]);
    assert_eq!(tests(&list(&["x"]), &[]).unwrap_err().to_string(), "tests[0]: there is no script \"x\"");
}

#[test]
fn a_verdict_names_what_failed() {
    let one = |name: &str, status, exit_code| Outcome {
        script: name.parse().unwrap(),
        status,
        exit_code,
        output: String::new(),
        started_at: at(0),
        finished_at: at(1),
    };
    let good = [one("cpu", RunStatus::Passed, 0), one("disk-read", RunStatus::Skipped, 77)];
    assert_eq!(verdict(ScriptKind::Test, &good).unwrap(), "1 of 2 tests passed, 1 skipped");
    let bad =
        [one("memory", RunStatus::Failed, 1), one("cpu", RunStatus::Passed, 0), one("x", RunStatus::TimedOut, 143)];
    assert_eq!(
        verdict(ScriptKind::Test, &bad).unwrap_err(),
        "2 of 3 tests failed: memory (exit code 1), x (timed-out)"
    );
}
