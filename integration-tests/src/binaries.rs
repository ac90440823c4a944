//! The binaries of this workspace, built as `cargo` builds them.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use crate::{
    error::{LabError, Result},
    process,
};

/// The top of the clone.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is a folder of the workspace")
}

/// The path of a binary of this workspace; builds all of them, once a process. With `LAB_BIN_DIR` set, takes those that are
/// in that folder and builds nothing.
///
/// # Errors
/// The build fails, or there is no such binary.
pub fn binary(name: &str) -> Result<PathBuf> {
    static BUILT: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|e| e.to_string()));
    let folder = built.as_ref().map_err(|e| LabError::answer("cannot build the workspace's binaries", e.as_str()))?;
    let path = folder.join(name);
    if path.is_file() { Ok(path) } else { Err(LabError::answer(path.display().to_string(), "no such binary")) }
}

/// Builds, and gives the folder with the binaries: the one in which the running program was built.
fn build() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("LAB_BIN_DIR") {
        return Ok(PathBuf::from(folder));
    }
    let this = env::current_exe().map_err(LabError::io("cannot tell the running program's path"))?;
    let folder = this.parent().unwrap_or(Path::new("/"));
    let is_test = folder.ends_with("deps");
    let folder = if is_test { folder.parent().unwrap_or(folder) } else { folder };
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo has told this program of its package would have build scripts that look at it, such as ring's, run anew, and
    // nearly everything be built a second time.
    let of_package = |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.starts_with(start));
    for name in env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(|name| of_package(name)) {
        cargo.env_remove(name);
    }
    cargo.args(["build", "--locked", "--quiet", "--workspace", "--bins"]).current_dir(repository());
    if is_test {
        // With the tests chosen too, dependencies have the features that `cargo test` just built.
        cargo.arg("--tests");
    }
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    cargo.arg("--target-dir").arg(folder.parent().unwrap_or(folder));
    process::succeed(cargo, Duration::from_secs(3600))?;
    Ok(folder.to_owned())
}
