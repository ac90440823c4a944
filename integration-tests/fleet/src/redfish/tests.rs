//! The core without sockets: every personality, every refusal.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use chrono::DateTime;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    chassis::{BootTarget, Cause},
    truth::{Fact, Truth},
};

struct Bench {
    face: Redfish,
    start: Instant,
    elapsed: Duration,
    login: Option<(String, String)>,
    token: Option<String>,
}

impl Bench {
    fn new(vendor: &str) -> Self {
        let personality = Personality::shipped(vendor).unwrap();
        let quirks = Quirks::of(&personality).unwrap();
        let truth = Arc::new(Truth::default());
        let machine = Machine {
            uuid: Uuid::from_u128(7),
            serial: "S7".into(),
            macs: vec!["52:54:00:00:00:01".parse().unwrap()],
            bmc_mac: "52:54:00:00:00:02".parse().unwrap(),
            bmc_address: [127, 0, 0, 9].into(),
            processors: 2,
            memory_gib: 64,
        };
        let factory = &personality.accounts.factory;
        let login = Some((factory.name.clone(), factory.password.clone()));
        let users = Accounts::shared(Arc::clone(&personality), Arc::clone(&truth));
        let face = Redfish::new(personality, quirks, machine, Chassis::new(truth), users, 1);
        Self { face, start: Instant::now(), elapsed: Duration::ZERO, login, token: None }
    }

    fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Response<Bytes> {
        let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("x-auth-token", token);
        } else if let Some((name, password)) = &self.login {
            let encoded = BASE64_STANDARD.encode(format!("{name}:{password}"));
            request = request.header("authorization", format!("Basic {encoded}"));
        }
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let request = request.body(body).unwrap();
        let wall = DateTime::from_timestamp(1_800_000_000, 0).unwrap() + self.elapsed;
        let now = Now { wall, steady: self.start + self.elapsed };
        match self.face.handle(&request, Caller { from: [127, 0, 0, 1].into(), now }) {
            Verdict::Answer(response, _) => response,
            other @ (Verdict::Silence | Verdict::Hangup) => panic!("{other:?}"),
        }
    }

    fn json(&mut self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let response = self.send(method, path, &[], body);
        (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap_or(Value::Null))
    }

    fn get(&mut self, path: &str) -> Value {
        let (status, body) = self.json("GET", path, &Value::Null);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// The status and the name of the message.
    fn refusal(&mut self, method: &str, path: &str, body: &Value) -> (u16, String) {
        let (status, body) = self.json(method, path, body);
        let id = body["error"]["@Message.ExtendedInfo"][0]["MessageId"].as_str().unwrap_or_default();
        (status, id.rsplit('.').next().unwrap_or_default().to_owned())
    }

    fn system(&self) -> String {
        format!("/redfish/v1/Systems/{}/", self.face.quirks.system_id)
    }

    fn etag(&mut self, path: &str) -> String {
        self.send("GET", path, &[], &Value::Null).headers()["etag"].to_str().unwrap().to_owned()
    }
}

/// Every link that can be reached is there, in every personality.
#[test]
fn every_link_leads_somewhere() {
    for vendor in Personality::names() {
        let mut bench = Bench::new(vendor);
        let (mut todo, mut seen) = (vec!["/redfish/v1/".to_owned()], 0);
        let mut known = std::collections::BTreeSet::new();
        while let Some(path) = todo.pop() {
            let path = format!("{}/", path.trim_end_matches('/'));
            if known.insert(path.clone()) {
                seen += 1;
                links(&bench.get(&path), &mut todo);
            }
        }
        assert!(seen > 30, "{vendor}: {seen}");
    }
}

fn links(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            into.extend(map.get("@odata.id").and_then(Value::as_str).map(str::to_owned));
            into.extend(map.get("@Redfish.ActionInfo").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|v| links(v, into));
        }
        Value::Array(list) => list.iter().for_each(|v| links(v, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn an_impossible_quirk_is_named() {
    let mut personality = Personality::clone(&Personality::shipped("dell").unwrap());
    personality.redfish["boot"]["targets"] = toml::Value::from(vec!["Pxe", "Moon"]);
    let error = Quirks::of(&personality).unwrap_err().to_string();
    assert_eq!(error, r#"redfish.boot.targets of personality "dell" must be targets that a chassis has"#);
    personality.redfish = toml::Table::new();
    assert!(Quirks::of(&personality).unwrap_err().to_string().contains("vendor"));
}

#[test]
fn power_is_that_of_the_chassis() {
    for vendor in Personality::names() {
        let mut bench = Bench::new(vendor);
        let system = bench.system();
        assert_eq!(bench.get(&system)["PowerState"], "Off", "{vendor}");
        let action = format!("{system}Actions/ComputerSystem.Reset");
        let (status, _) = bench.json("POST", &action, &json!({"ResetType": "On"}));
        assert!([200, 202, 204].contains(&status), "{vendor}: {status}");
        assert_eq!(bench.get(&system)["PowerState"], "On", "{vendor}");
        assert_eq!(bench.face.chassis.truth().of(Fact::PowerOn), 1);
        bench.elapsed += Duration::from_secs(5);
        bench.json("POST", &action, &json!({"ResetType": "ForceOff"}));
        assert!(!bench.face.chassis.is_on(), "{vendor}");
        bench.elapsed += Duration::from_secs(5);
        assert_eq!(
            bench.refusal("POST", &action, &json!({"ResetType": "Explode"})),
            (400, "ActionParameterValueNotInList".into())
        );
        assert_eq!(bench.refusal("POST", &action, &json!({})), (400, "ActionParameterMissing".into()));
    }
}

#[test]
fn an_override_is_set_where_the_personality_takes_it() {
    for vendor in Personality::names() {
        let mut bench = Bench::new(vendor);
        let system = bench.system();
        let path = bench.get(&system)["@Redfish.Settings"]["SettingsObject"]["@odata.id"]
            .as_str()
            .map_or(system.clone(), |p| format!("{p}/"));
        let tag = bench.etag(&path);
        let boot = json!({"Boot": {"BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": "Pxe"}});
        let response = bench.send("PATCH", &path, &[("if-match", &tag)], &boot);
        assert_eq!(response.status(), 200, "{vendor}: {response:?}");
        let shown = &bench.get(&system)["Boot"];
        assert_eq!(shown["BootSourceOverrideTarget"], "Pxe", "{vendor}");
        assert_eq!(bench.face.chassis.boot().0.unwrap().target, BootTarget::Network);
        let stale = bench.send("PATCH", &path, &[("if-match", &tag)], &boot);
        assert_eq!(stale.status(), 412, "{vendor}");
        bench.face.chassis.power_on(Cause::Button);
        assert_eq!(bench.get(&system)["Boot"]["BootSourceOverrideEnabled"], "Disabled", "{vendor}");
    }
}

#[test]
fn quirks_of_a_change() {
    let boot = json!({"Boot": {"BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": "Pxe"}});
    let system = |bench: &Bench| bench.system();
    let mut bench = Bench::new("supermicro");
    let path = system(&bench);
    assert_eq!(bench.refusal("PATCH", &path, &boot), (428, "PreconditionRequired".into()));
    let mut bench = Bench::new("hpe");
    let path = system(&bench);
    assert_eq!(bench.send("PATCH", &path, &[("if-match", "*")], &boot).status(), 412);
    let plain = path.trim_end_matches('/').to_owned();
    let moved = bench.send("GET", &plain, &[], &Value::Null);
    assert_eq!((moved.status().as_u16(), moved.headers()["location"].to_str().unwrap()), (308, path.as_str()));
    let action = format!("{path}Actions/ComputerSystem.Reset");
    assert_eq!(bench.json("POST", &action, &json!({"ResetType": "On"})).0, 200);
    assert_eq!(bench.refusal("PATCH", &path, &boot), (409, "ResourceInUse".into()));
    let mut bench = Bench::new("dell");
    let path = system(&bench);
    assert_eq!(bench.refusal("PATCH", &path, &boot), (400, "PropertyNotWritable".into()));
    let bios = bench.json("PATCH", &format!("{path}Bios/Settings"), &json!({"Attributes": {"BootMode": "Bios"}}));
    assert_eq!((bios.0, bios.1["TaskState"].as_str()), (202, Some("Running")));
    assert_eq!(bench.get("/redfish/v1/TaskService/Tasks/1")["TaskState"], "Running");
    bench.elapsed += Duration::from_secs(3);
    assert_eq!(bench.get("/redfish/v1/TaskService/Tasks/1")["TaskState"], "Completed");
    assert_eq!(bench.get(&format!("{path}Bios"))["Attributes"]["BootMode"], "Uefi");
    bench.face.chassis.power_on(Cause::Button);
    assert_eq!(bench.get(&format!("{path}Bios"))["Attributes"]["BootMode"], "Bios");
}

const PASSWORD: &str = "Zk7bQm4tXw9p";

/// Makes `maas`, in the way of the personality; its URI.
fn make_account(bench: &mut Bench) -> String {
    let collection = "/redfish/v1/AccountService/Accounts/";
    let body = json!({"UserName": "maas", "Password": PASSWORD, "RoleId": "Administrator", "Enabled": true});
    let by_post = bench.face.quirks.accounts.creation == quirks::Creation::Post;
    if by_post {
        let made = bench.send("POST", collection, &[], &body);
        assert_eq!(made.status(), 201, "{made:?}");
        return format!("{}/", made.headers()["location"].to_str().unwrap());
    }
    assert_eq!(bench.refusal("POST", collection, &body).0, 405);
    let members = bench.get(collection)["Members"].as_array().unwrap().clone();
    let fixed = bench.face.personality.accounts.fixed_slots.clone();
    let empty = members.iter().map(|m| m["@odata.id"].as_str().unwrap().to_owned()).find(|uri| {
        let slot: u8 = uri.rsplit('/').next().unwrap().parse().unwrap();
        !fixed.contains(&slot) && bench.get(uri)["UserName"] == ""
    });
    let uri = empty.unwrap();
    assert_eq!(bench.json("PATCH", &uri, &body).0, 200);
    uri
}

#[test]
fn an_account_is_made_used_changed_and_removed() {
    for vendor in Personality::names() {
        let mut bench = Bench::new(vendor);
        let admin = bench.login.clone();
        let uri = make_account(&mut bench);
        let shown = bench.get(&uri);
        assert_eq!((&shown["UserName"], &shown["RoleId"]), (&json!("maas"), &json!("Administrator")), "{vendor}");
        assert_eq!(bench.face.chassis.truth().of(Fact::AccountMade), 1, "{vendor}");
        bench.login = None;
        let (status, _) = bench.json("GET", "/redfish/v1/Systems/", &Value::Null);
        assert_eq!(status, 401);
        let credentials = json!({"UserName": "maas", "Password": PASSWORD});
        let session = bench.send("POST", "/redfish/v1/SessionService/Sessions", &[], &credentials);
        assert_eq!(session.status(), 201, "{vendor}");
        bench.token = Some(session.headers()["x-auth-token"].to_str().unwrap().to_owned());
        assert_eq!(bench.get("/redfish/v1/Systems/")["Members@odata.count"], 1);
        // A new password of its own leaves this session and ends the others; the old password is worth nothing.
        let tag = bench.etag(&uri);
        let next = json!({"Password": "Pw8mXt4qBz7k"});
        assert_eq!(bench.send("PATCH", &uri, &[("if-match", &tag)], &next).status(), 200, "{vendor}");
        assert_eq!(bench.get(&uri)["UserName"], "maas");
        bench.token = None;
        bench.login = Some(("maas".into(), PASSWORD.into()));
        assert_eq!(bench.json("GET", "/redfish/v1/Systems/", &Value::Null).0, 401, "{vendor}");
        bench.login = admin;
        if bench.face.quirks.accounts.creation == quirks::Creation::Post {
            let gone = bench.json("DELETE", &uri, &Value::Null).0;
            assert!([200, 204].contains(&gone), "{vendor}: {gone}");
            assert_eq!(bench.refusal("GET", &uri, &Value::Null), (404, "ResourceMissingAtURI".into()));
        } else {
            assert_eq!(bench.json("PATCH", &uri, &json!({"UserName": ""})).0, 200, "{vendor}");
            assert_eq!(bench.get(&uri)["UserName"], "");
        }
        assert_eq!(bench.face.chassis.truth().of(Fact::AccountRemoved), 1, "{vendor}");
    }
}

#[test]
fn weak_passwords_taken_names_and_reserved_slots_are_refused() {
    let mut bench = Bench::new("openbmc");
    let collection = "/redfish/v1/AccountService/Accounts";
    let with = |name: &str, password: &str| json!({"UserName": name, "Password": password, "RoleId": "Operator"});
    let check = |bench: &mut Bench, body: &Value, id: &str| {
        assert_eq!(bench.refusal("POST", collection, body), (400, id.to_owned()), "{body}");
    };
    check(&mut bench, &with("maas", "short"), "PropertyValueError");
    check(&mut bench, &with("root", PASSWORD), "ResourceAlreadyExists");
    check(&mut bench, &with("", PASSWORD), "PropertyValueError");
    check(&mut bench, &json!({"UserName": "maas", "Password": PASSWORD}), "PropertyMissing");
    check(&mut bench, &json!({"UserName": "maas", "Password": 7, "RoleId": "Operator"}), "PropertyValueTypeError");
    check(&mut bench, &json!({"UserName": "m", "Password": PASSWORD, "RoleId": "King"}), "PropertyValueNotInList");
    check(&mut bench, &json!({"UserName": "m", "Colour": "red"}), "PropertyUnknown");
    let mut bench = Bench::new("dell");
    let body = json!({"UserName": "maas", "Password": PASSWORD, "RoleId": "Administrator", "Enabled": true});
    let first = format!("{collection}/1");
    assert_eq!(bench.refusal("PATCH", &first, &body), (400, "OperationNotAllowed".into()));
    assert_eq!(bench.refusal("PATCH", &format!("{collection}/3"), &json!({"UserName": "x"})).1, "PropertyMissing");
}

#[test]
fn a_role_gives_its_rights_and_no_more() {
    let mut bench = Bench::new("openbmc");
    let collection = "/redfish/v1/AccountService/Accounts";
    let body = json!({"UserName": "eve", "Password": PASSWORD, "RoleId": "ReadOnly"});
    assert_eq!(bench.json("POST", collection, &body).0, 201);
    bench.login = Some(("eve".into(), PASSWORD.into()));
    let system = bench.system();
    assert_eq!(bench.get(&system)["PowerState"], "Off");
    let forbidden = (403, "InsufficientPrivilege".to_owned());
    let reset = format!("{system}Actions/ComputerSystem.Reset");
    assert_eq!(bench.refusal("POST", &reset, &json!({"ResetType": "On"})), forbidden);
    assert_eq!(bench.refusal("GET", &format!("{collection}/root"), &Value::Null), forbidden);
    assert_eq!(bench.refusal("PATCH", &format!("{collection}/eve"), &json!({"RoleId": "Administrator"})), forbidden);
    assert_eq!(bench.json("PATCH", &format!("{collection}/eve"), &json!({"Password": "Qq8mXt4qBz7k"})).0, 200);
}

#[test]
fn sessions_are_few_and_end() {
    let mut bench = Bench::new("supermicro");
    let (name, password) = bench.login.clone().unwrap();
    let credentials = json!({"UserName": name, "Password": password});
    let sessions = "/redfish/v1/SessionService/Sessions";
    for _ in 0..6 {
        assert_eq!(bench.json("POST", sessions, &credentials).0, 201);
    }
    assert_eq!(bench.refusal("POST", sessions, &credentials), (503, "SessionLimitExceeded".into()));
    assert_eq!(bench.json("DELETE", &format!("{sessions}/1"), &Value::Null).0, 204);
    assert_eq!(bench.json("POST", sessions, &credentials).0, 201);
    bench.elapsed += Duration::from_secs(301);
    assert_eq!(bench.get(sessions)["Members@odata.count"], 0);
}

#[test]
fn wrong_passwords_lock_out() {
    let mut bench = Bench::new("dell");
    let right = bench.login.replace(("root".into(), "wrong".into()));
    for _ in 0..5 {
        assert_eq!(bench.json("GET", "/redfish/v1/Systems", &Value::Null).0, 401);
    }
    bench.login = right;
    assert_eq!(bench.json("GET", "/redfish/v1/Systems", &Value::Null).0, 401);
    assert_eq!(bench.face.chassis.truth().of(Fact::Lockout), 1);
    bench.elapsed += Duration::from_secs(61);
    assert_eq!(bench.get("/redfish/v1/Systems")["Members@odata.count"], 1);
}

#[test]
fn an_account_is_unlocked_and_kept_from_ipmi() {
    let mut bench = Bench::new("openbmc");
    let collection = "/redfish/v1/AccountService/Accounts";
    let body = json!({"UserName": "eve", "Password": PASSWORD, "RoleId": "Operator", "AccountTypes": ["Redfish"]});
    assert_eq!(bench.json("POST", collection, &body).0, 201);
    let uri = format!("{collection}/eve");
    assert_eq!(bench.get(&uri)["AccountTypes"], json!(["Redfish"]));
    assert!(!bench.face.accounts().user(2).unwrap().may_log_in());
    let admin = bench.login.replace(("eve".into(), "wrong".into()));
    for _ in 0..10 {
        assert_eq!(bench.json("GET", "/redfish/v1/Systems", &Value::Null).0, 401);
    }
    bench.login = admin;
    assert_eq!(bench.get(&uri)["Locked"], true);
    let both = json!({"Locked": false, "AccountTypes": ["Redfish", "IPMI"]});
    assert_eq!(bench.json("PATCH", &uri, &both).0, 200);
    let shown = bench.get(&uri);
    assert_eq!((&shown["Locked"], &shown["AccountTypes"]), (&json!(false), &json!(["Redfish", "IPMI"])));
    assert!(bench.face.accounts().user(2).unwrap().may_log_in());
    assert_eq!(bench.refusal("PATCH", &uri, &json!({"Locked": true})), (400, "PropertyValueNotInList".into()));
    assert_eq!(bench.refusal("PATCH", &uri, &json!({"AccountTypes": ["IPMI"]})), (400, "PropertyValueError".into()));
}

#[test]
fn protocol() {
    let mut bench = Bench::new("openbmc");
    let wrong = bench.send("DELETE", "/redfish/v1/Systems", &[], &Value::Null);
    assert_eq!((wrong.status().as_u16(), wrong.headers()["allow"].to_str().unwrap()), (405, "GET, HEAD"));
    assert_eq!(bench.refusal("GET", "/redfish/v1/Nothing", &Value::Null), (404, "ResourceMissingAtURI".into()));
    assert_eq!(bench.refusal("GET", "/redfish/v1/Systems?$expand=.", &Value::Null).0, 501);
    assert_eq!(bench.send("GET", "/redfish/v1/", &[("odata-version", "4.1")], &Value::Null).status(), 412);
    let tag = bench.etag("/redfish/v1/Chassis/chassis");
    let same = bench.send("GET", "/redfish/v1/Chassis/chassis", &[("if-none-match", &tag)], &Value::Null);
    assert_eq!(same.status(), 304);
    let head = bench.send("HEAD", "/redfish/v1/Chassis/chassis", &[], &Value::Null);
    assert_eq!((head.status().as_u16(), head.body().len(), head.headers()["etag"].to_str().unwrap()), (200, 0, &*tag));
    bench.login = None;
    assert_eq!(bench.get("/redfish")["v1"], "/redfish/v1/");
    let refused = bench.send("GET", "/redfish/v1/Chassis", &[], &Value::Null);
    assert_eq!((refused.status().as_u16(), refused.headers().contains_key("www-authenticate")), (401, true));
}

#[test]
fn a_reset_of_the_manager_takes_it_away() {
    let mut bench = Bench::new("openbmc");
    let uri = "/redfish/v1/Managers/bmc/Actions/Manager.Reset";
    assert_eq!(bench.json("POST", uri, &json!({"ResetType": "ForceRestart"})).0, 204);
    assert_eq!(bench.refusal("GET", "/redfish/v1/", &Value::Null), (503, "ServiceTemporarilyUnavailable".into()));
    bench.elapsed += Duration::from_secs(31);
    assert_eq!(bench.get("/redfish/v1/")["Vendor"], "OpenBMC");
}

#[test]
fn faults_do_what_they_say() {
    let mut bench = Bench::new("openbmc");
    let system = bench.system();
    let once = |fault| FaultRule { count: Some(1), ..FaultRule::always(fault) };
    bench.face.faults.set(vec![once(Fault::Unavailable { retry_after: 9 })]);
    let away = bench.send("GET", &system, &[], &Value::Null);
    assert_eq!((away.status().as_u16(), away.headers()["retry-after"].to_str().unwrap()), (503, "9"));
    bench.face.faults.set(vec![once(Fault::LieAboutPower)]);
    assert_eq!(bench.get(&system)["PowerState"], "On");
    assert_eq!(bench.get(&system)["PowerState"], "Off");
    bench.face.faults.set(vec![once(Fault::AcknowledgeOnly)]);
    let reset = format!("{system}Actions/ComputerSystem.Reset");
    assert_eq!(bench.json("POST", &reset, &json!({"ResetType": "On"})).0, 204);
    assert_eq!(bench.get(&system)["PowerState"], "Off");
    bench.face.faults.set(vec![once(Fault::AcknowledgeOnly)]);
    let collection = "/redfish/v1/AccountService/Accounts";
    let body = json!({"UserName": "eve", "Password": PASSWORD, "RoleId": "ReadOnly"});
    assert_eq!(bench.json("POST", collection, &body).0, 201);
    assert_eq!(bench.get(collection)["Members@odata.count"], 1);
    bench.face.faults.set(vec![once(Fault::NotJson)]);
    assert_eq!(bench.json("GET", &system, &Value::Null), (200, Value::Null));
    bench.face.faults.set(vec![FaultRule::always(Fault::SessionsFull)]);
    let credentials = json!({"UserName": "root", "Password": "0penBmc"});
    assert_eq!(bench.json("POST", "/redfish/v1/SessionService/Sessions", &credentials).0, 503);
    assert!(!bench.face.is_deaf());
    bench.face.faults.set(vec![FaultRule::always(Fault::BlackHole)]);
    assert!(bench.face.is_deaf());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[A-Za-z/:%. ]{0,20}".prop_map(Value::from),
        prop::sample::select(vec!["Once", "Pxe", "UefiHttp", "Legacy", "On", "Administrator"]).prop_map(Value::from),
    ];
    let names = prop::sample::select(vec![
        "Boot",
        "BootSourceOverrideTarget",
        "BootSourceOverrideEnabled",
        "BootSourceOverrideMode",
        "HttpBootUri",
        "ResetType",
        "UserName",
        "Password",
        "RoleId",
        "Enabled",
        "AccountTypes",
        "Oem",
        "Hpe",
        "Privileges",
        "Attributes",
        "BootMode",
        "SessionTimeout",
    ]);
    leaf.prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(names.clone().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

/// All that a request can change.
fn state(bench: &Bench) -> String {
    let face = &bench.face;
    format!(
        "{:?} {:?} {:?}",
        face.accounts().users(),
        (face.chassis.power(), face.chassis.boot()),
        (&face.bios, &face.tasks)
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_request_makes_nothing_panic_and_a_refused_one_changes_nothing(
        vendor in prop::sample::select(Personality::names().collect::<Vec<_>>()),
        method in prop::sample::select(vec!["GET", "HEAD", "POST", "PATCH", "DELETE", "PUT", "OPTIONS", "X"]),
        tail in prop_oneof![
            "(/[A-Za-z0-9.$%]{0,12}){0,7}\\?{0,1}[$&=a-z]{0,6}",
            prop::sample::select(vec![
                "/AccountService/Accounts/root", "/Systems/1", "/Systems/1/Bios/Settings", "/Systems/1/Actions/ComputerSystem.Reset",
                "/AccountService/Accounts", "/AccountService/Accounts/3", "/SessionService/Sessions",
                "/SessionService", "/Systems/system", "/Systems/System.Embedded.1/Settings",
            ]).prop_map(str::to_owned),
        ],
        body in any_json(),
        raw in prop::option::of(prop::collection::vec(any::<u8>(), 0..64)),
        tag in prop::option::of("[ -~]{0,12}"),
    ) {
        let mut bench = Bench::new(vendor);
        let tag = tag.unwrap_or_else(|| "*".into());
        let before = state(&bench);
        let response = bench.send(method, &format!("/redfish/v1{tail}"), &[("if-match", &tag)], &body);
        prop_assert!(response.status().is_success() || response.status().is_redirection() || before == state(&bench));
        let request = Request::builder().method(method).uri(format!("/redfish/v1{tail}"))
            .body(Bytes::from(raw.unwrap_or_default())).unwrap();
        let now = Now { wall: DateTime::from_timestamp(0, 0).unwrap(), steady: bench.start };
        let _ = bench.face.handle(&request, Caller { from: [127, 0, 0, 1].into(), now });
    }
}
