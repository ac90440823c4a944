//! What a lab needs from outside: images and other people's clients, built once and kept.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{binaries::repository, cache::Cache, error::Result, process};

/// Building from packages may download some hundred megabytes.
const BUILD_LIMIT: Duration = Duration::from_secs(3600);

/// A kernel and an initrd.
#[derive(Debug, Clone)]
pub struct Ephemeral {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initrd with the agent.
    pub initrd: PathBuf,
}

/// An operating system to deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// Boots in seconds, speaks NoCloud and phones home; see `deploy/images/build-mini.sh`.
    Mini,
    /// Debian 12 with cloud-init; see `deploy/images/build-debian.sh`.
    Debian,
}

impl System {
    /// The name of its image.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mini => "mini",
            Self::Debian => "debian-12",
        }
    }
}

/// The environment in which the agent runs.
///
/// # Errors
/// The build fails.
pub fn ephemeral() -> Result<Ephemeral> {
    let cache = Cache::open()?;
    let packages = cache.shared("packages-ephemeral")?;
    let inputs = in_repository(&["agent", "proto", "common", "ipmi", "deploy/ephemeral", "Cargo.toml", "Cargo.lock"]);
    let folder = cache.artefact("ephemeral", &inputs, |out| {
        let mut build = script("deploy/ephemeral/build.sh");
        build.arg("--out").arg(out).arg("--cache").arg(&packages);
        process::succeed(build, BUILD_LIMIT).map(drop)
    })?;
    Ok(Ephemeral { kernel: folder.join("vmlinuz"), initrd: folder.join("initrd.zst") })
}

/// A disk image, compressed with zstd.
///
/// # Errors
/// The build fails.
pub fn disk_image(system: System) -> Result<PathBuf> {
    let (kind, builder, parts) = match system {
        System::Mini => ("mini", "deploy/images/build-mini.sh", "deploy/images/mini"),
        System::Debian => ("debian", "deploy/images/build-debian.sh", "deploy/images/debian"),
    };
    let cache = Cache::open()?;
    let packages = cache.shared("packages-images")?;
    let inputs = in_repository(&[builder, parts, "deploy/images/lib.sh"]);
    let folder = cache.artefact(kind, &inputs, |out| {
        let mut build = script(builder);
        build.arg("--out").arg(out.join("disk.raw.zst")).arg("--cache").arg(&packages);
        process::succeed(build, BUILD_LIMIT).map(drop)
    })?;
    Ok(folder.join("disk.raw.zst"))
}

/// A Python environment with programs that nobody here wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Python {
    /// gRPC and its reflection client: a second opinion on our API.
    Grpc,
    /// Clients, validators and an emulator of BMCs.
    Bmc,
}

/// The folder of a Python environment; its interpreter is `bin/python`.
///
/// # Errors
/// It cannot be installed.
pub fn python(python: Python) -> Result<PathBuf> {
    let (kind, list) = match python {
        Python::Grpc => ("python", "integration-tests/python/requirements.txt"),
        Python::Bmc => ("python-bmc", "integration-tests/python/requirements-bmc.txt"),
    };
    let requirements = repository().join(list);
    let folder = Cache::open()?.artefact(kind, std::slice::from_ref(&requirements), |out| {
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv"]).arg(out.join("venv"));
        process::succeed(venv, BUILD_LIMIT)?;
        let mut pip = Command::new(out.join("venv/bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--require-virtualenv", "-r"]).arg(&requirements);
        process::succeed(pip, BUILD_LIMIT).map(drop)
    })?;
    Ok(folder.join("venv"))
}

fn in_repository(paths: &[&str]) -> Vec<PathBuf> {
    paths.iter().map(|p| repository().join(p)).collect()
}

fn script(path: &str) -> Command {
    let mut command = Command::new(Path::new(repository()).join(path));
    command.current_dir(repository());
    command
}
