//! What people say about machines: what is sent, and that YAML says what JSON says.

use crate::fake::Fake;

#[tokio::test]
async fn a_remark_goes_with_its_reason() {
    let fake = Fake::start().await;
    for (verb, state) in [
        ("mark-broken", "broken"),
        ("mark-fixed", "commissioning"),
        ("override-failed-test", "ready"),
        ("lock", "ready"),
        ("unlock", "ready"),
    ] {
        let ran = fake.run(&["machine", verb, "n1", "--comment", verb, "-o", "json"]).await;
        assert_eq!((ran.code, ran.json()["state"].as_str()), (0, Some(state)), "{verb}: {ran:?}");
        assert_eq!(fake.script(|s| s.comments.pop()).as_deref(), Some(verb));
    }
    let ran = fake.run(&["machine", "override-failed-test", "n1"]).await;
    assert_eq!(ran.code, 2, "an override says why: {ran:?}");
    let ran = fake.run(&["machine", "unlock", "n1"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "n1 is not locked\n"));
}

#[tokio::test]
async fn an_update_names_what_is_given_and_nothing_else() {
    let fake = Fake::start().await;
    let sent = async |args: &[&str]| {
        let ran = fake.run(&[&["machine", "update", "n1"], args].concat()).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        fake.script(|s| s.update.take()).unwrap()
    };
    let update = sent(&["--tag", "a", "--tag", "b", "--pool", "gpu", "--notes", ""]).await;
    assert_eq!(update.update_mask.unwrap().paths, ["pool", "tags", "notes"]);
    assert_eq!((update.pool.as_str(), update.tags.len(), update.notes.as_str()), ("gpu", 2, ""));
    let update = sent(&["--no-tags", "--label", "row=7", "--name", "n2", "--zone", "z1"]).await;
    assert_eq!(update.update_mask.unwrap().paths, ["name", "zone", "tags", "labels"]);
    assert!(update.tags.is_empty());
    assert_eq!(update.labels["row"], "7");
    for bad in [&[][..], &["--tag", "a", "--no-tags"], &["--label", "a=1", "--label", "a=2"]] {
        let ran = fake.run(&[&["machine", "update", "n1"], bad].concat()).await;
        assert_eq!(ran.code, 2, "{bad:?}: {ran:?}");
    }
}

#[tokio::test]
async fn yaml_says_what_json_says() {
    let fake = Fake::start().await;
    let ran = fake.run(&["machine", "show", "n1", "-o", "yaml"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    for line in ["architecture: null", "name: \"\"", "interfaces: []"] {
        assert!(ran.stdout.lines().any(|l| l == line), "{line}: {}", ran.stdout);
    }
}
