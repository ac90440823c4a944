//! The tree is tidy: imports go one way, files are small and documented, nothing is left for later, links lead somewhere.
//!
//! The tables below are `docs/architecture.md` in a form that a test can check; change both together.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use farrier_integration_tests::binaries::repository;

/// Which crates of this workspace a crate may depend on.
const CRATES: &[(&str, &[&str])] = &[
    ("common", &[]),
    ("proto", &["farrier-common"]),
    ("ipmi", &["farrier-common"]),
    ("region", &["farrier-common", "farrier-proto"]),
    ("rack", &["farrier-common", "farrier-proto", "farrier-ipmi"]),
    ("agent", &["farrier-common", "farrier-proto", "farrier-ipmi"]),
    ("cli", &["farrier-common", "farrier-proto"]),
    ("integration-tests", &["farrier-common", "farrier-proto", "farrier-region", "farrier-rack"]),
    // The lab to live in; what it simulates it shares with nobody.
    ("integration-tests/fleet", &["farrier-common", "farrier-proto", "farrier-integration-tests"]),
];

/// Which crates a crate may depend on in its tests alone, and what for.
const TEST_ONLY: &[(&str, &[&str])] = &[
    // The crash matrix walks their points, and the rack's BMC drivers are tried on BMCs; the simulator shares nothing with them.
    ("integration-tests/fleet", &["farrier-region", "farrier-rack", "farrier-agent"]),
];

/// A module and what it may import.
type Directions = (&'static str, &'static [&'static str]);

/// Which modules of its crate a top-level module may import. Modules of a crate that is not here are free.
const MODULES: &[(&str, &[Directions])] = &[
    (
        "region",
        &[
            ("api", &["app", "domain", "pki", "store"]),
            ("app", &["crash", "domain", "files", "pki", "racks", "store", "vault"]),
            ("engine", &["crash", "domain", "racks", "store", "vault"]),
            ("racks", &["domain", "pki", "store", "vault"]),
            ("store", &["domain"]),
            ("vault", &["domain", "files"]),
            ("pki", &["files"]),
            ("crash", &["domain"]),
            ("domain", &[]),
            ("files", &[]),
            ("process", &[]),
        ],
    ),
    (
        "rack",
        &[
            ("service", &["blobs", "bmc", "boot", "crash", "gateway"]),
            ("link", &["blobs", "boot", "gateway", "join"]),
            ("relay", &["blobs", "boot", "crash", "gateway"]),
            ("net", &["blobs", "boot", "crash", "gateway"]),
            ("blobs", &["boot", "gateway"]),
            ("gateway", &["boot"]),
            ("bmc", &["crash"]),
            ("boot", &["crash"]),
            ("crash", &[]),
            ("join", &[]),
        ],
    ),
];

/// Where everything is put together; these may import anything.
const ROOTS: &[&str] = &["lib", "main", "region", "run", "config"];

/// Which modules of a crate alone may name a library.
const LIBRARIES: &[(&str, &str, &[&str])] = &[
    ("region", "diesel", &["store"]),
    ("region", "diesel_migrations", &["store"]),
    ("region", "tonic", &["api", "racks"]),
    ("region", "farrier_proto", &["api", "racks"]),
    ("rack", "tonic", &["gateway", "link", "relay", "service"]),
    ("rack", "farrier_proto", &["gateway", "link", "relay", "service"]),
];

/// What a pure module never names.
const PURE: &[(&str, &str, &[&str])] =
    &[("region", "domain", &["tokio::", "tonic::", "diesel::", "Clock::", "Utc::now", "std::fs", "std::net::Tcp"])];

const MOST_LINES: usize = 500;

#[test]
fn crates_depend_one_way() {
    let mut faults = Vec::new();
    for (krate, allowed) in CRATES {
        let text = read(&repository().join(krate).join("Cargo.toml"));
        let manifest: toml::Table = text.parse().expect("cargo reads it too");
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let names = manifest.get(kind).and_then(|d| d.as_table()).into_iter().flat_map(|t| t.keys());
            let more = TEST_ONLY.iter().filter(|(name, _)| name == krate && kind == "dev-dependencies");
            let allowed: Vec<_> = more.flat_map(|(_, more)| *more).chain(*allowed).copied().collect();
            for name in names.filter(|n| n.starts_with("farrier") && !allowed.contains(&n.as_str())) {
                faults.push(format!("{krate}: {kind} on {name}; allowed are {allowed:?}"));
            }
        }
    }
    none(&faults);
}

#[test]
fn modules_import_one_way() {
    let mut faults = Vec::new();
    for (krate, modules) in MODULES {
        let known: BTreeMap<_, _> = modules.iter().copied().collect();
        for file in sources(&repository().join(krate).join("src")) {
            let module = top_module(krate, &file);
            if ROOTS.contains(&module.as_str()) {
                continue;
            }
            let Some(allowed) = known.get(module.as_str()) else {
                faults.push(format!("{}: module {module} is not in the table of tidy.rs", show(&file)));
                continue;
            };
            for import in imports(&read(&file)) {
                if import != module && known.contains_key(import.as_str()) && !allowed.contains(&import.as_str()) {
                    faults.push(format!("{}: {module} must not import {import}, only {allowed:?}", show(&file)));
                }
            }
        }
    }
    none(&faults);
}

#[test]
fn libraries_stay_in_their_modules() {
    let mut faults = Vec::new();
    for (krate, library, modules) in LIBRARIES {
        for file in sources(&repository().join(krate).join("src")) {
            let module = top_module(krate, &file);
            if names_library(&read(&file), library) && !modules.contains(&module.as_str()) {
                faults.push(format!("{}: {library} is for {modules:?}, not for {module}", show(&file)));
            }
        }
    }
    for (krate, module, banned) in PURE {
        for file in sources(&repository().join(krate).join("src")) {
            let text = read(&file);
            for word in
                banned.iter().filter(|w| top_module(krate, &file) == *module && code(&text).any(|l| l.contains(**w)))
            {
                faults.push(format!("{}: {module} is pure and must not name {word}", show(&file)));
            }
        }
    }
    let cli_only = ["farrier_proto::rack", "farrier_proto::agent"];
    for file in sources(&repository().join("cli/src")) {
        if cli_only.iter().any(|word| read(&file).contains(word)) {
            faults.push(format!("{}: the command knows nothing but farrier.v1", show(&file)));
        }
    }
    none(&faults);
}

#[test]
fn files_are_small_and_documented() {
    let mut faults = Vec::new();
    for file in all_sources() {
        let text = read(&file);
        let lines = text.lines().count();
        let generated = file.ends_with("schema.rs");
        if lines > MOST_LINES && !generated {
            faults.push(format!("{}: {lines} lines; divide it by meaning (most is {MOST_LINES})", show(&file)));
        }
        let tests = file.ends_with("tests.rs");
        if !text.starts_with("//!") && !generated && !tests {
            faults.push(format!("{}: does not begin with `//!`: what it is for", show(&file)));
        }
        if file.ends_with("mod.rs") {
            faults.push(format!("{}: modules are foo.rs and foo/", show(&file)));
        }
    }
    none(&faults);
}

#[test]
fn nothing_is_left_for_later() {
    // In two halves, so that this file does not find itself.
    let marks = [("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("#[ign", "ore"), ("todo", "!("), ("unimplemented", "!(")];
    let mut faults = Vec::new();
    let scripts =
        files(&repository().join("deploy"), "").into_iter().chain(files(&repository().join("proto/proto"), "proto"));
    for file in all_sources().into_iter().chain(scripts) {
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap_or_default()).into_owned();
        for (number, line) in text.lines().enumerate() {
            for mark in marks.iter().map(|(a, b)| format!("{a}{b}")).filter(|m| line.contains(m)) {
                faults.push(format!("{}:{}: {mark}", show(&file), number + 1));
            }
        }
    }
    none(&faults);
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut faults = Vec::new();
    for file in files(repository(), "md") {
        for target in links(&read(&file)) {
            let path = target.split('#').next().unwrap_or_default();
            let there = file.parent().is_some_and(|folder| folder.join(path).exists());
            if !path.is_empty() && !there {
                faults.push(format!("{}: {target} does not exist", show(&file)));
            }
        }
    }
    none(&faults);
}

#[test]
fn example_configurations_are_toml() {
    let mut faults = Vec::new();
    for name in ["region.toml", "rack.toml"] {
        let path = repository().join("deploy/config").join(name);
        match fs::read_to_string(&path) {
            Err(error) => faults.push(format!("{}: {error}", show(&path))),
            Ok(text) => faults.extend(text.parse::<toml::Table>().err().map(|e| format!("{}: {e}", show(&path)))),
        }
    }
    none(&faults);
}

#[test]
fn imports_are_read_in_every_spelling() {
    let text = "use crate::{\n    a::{b, c},\n    d,\n    e::F as G,\n};\nuse crate::h;\nfn f() { crate::i::j() }\n// crate::k\n";
    assert_eq!(imports(text), ["a", "d", "e", "h", "i"]);
    assert!(names_library("use tonic::Status;", "tonic"));
    assert!(!names_library("//! Knows nothing of tonic::Status.", "tonic"));
    assert!(!names_library("use tonic_health::x; xtonic::y", "tonic"));
    assert_eq!(links("[a](b.md#c) `[x](y)` [d](https://e)\n```\n[f](g)\n```\n"), ["b.md#c"]);
}

/// The first segments of all `crate::…` paths.
fn imports(text: &str) -> Vec<String> {
    let code: String = code(text).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = code[at + "crate::".len()..].trim_start();
        match rest.strip_prefix('{') {
            None => found.push(identifier(rest)),
            Some(group) => found.extend(group_heads(group)),
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

/// The first segment of each member of a `{…}` group whose opening brace is gone.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut member, mut heads) = (0, String::new(), Vec::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(identifier(std::mem::take(&mut member).trim())),
            c if depth == 0 => member.push(c),
            _ => {}
        }
    }
    heads.push(identifier(member.trim()));
    heads
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Lines without comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(|line| line.split("//").next().unwrap_or_default())
}

fn names_library(text: &str, library: &str) -> bool {
    let path = format!("{library}::");
    code(text).any(|line| {
        line.match_indices(&path)
            .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
    })
}

/// Targets of relative links, outside code.
fn links(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        // Every second piece is between backticks.
        for piece in line.split('`').step_by(2) {
            let targets = piece.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            found.extend(targets.filter(|t| !t.contains("://") && !t.starts_with("mailto:")).map(str::to_owned));
        }
    }
    found
}

fn top_module(krate: &str, file: &Path) -> String {
    let inside = file.strip_prefix(repository().join(krate).join("src")).expect("it was found there");
    let first = inside.components().next().map(|c| c.as_os_str().to_string_lossy().into_owned()).unwrap_or_default();
    first.trim_end_matches(".rs").to_owned()
}

fn all_sources() -> Vec<PathBuf> {
    CRATES.iter().flat_map(|(krate, _)| sources(&repository().join(krate))).collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    files(folder, "rs")
}

/// Files at any depth with this extension (any if empty), without build output and hidden folders.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()) {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                found.extend(files(&path, extension));
            }
        } else if extension.is_empty() || path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn show(path: &Path) -> String {
    path.strip_prefix(repository()).unwrap_or(path).display().to_string()
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
