//! Compiles the contract without protoc and keeps the descriptor set for reflection.

use std::{env, fs, path::Path};

use prost::Message as _;

const FILES: &[&str] = &[
    "farrier/v1/common.proto",
    "farrier/v1/machines.proto",
    "farrier/v1/subnets.proto",
    "farrier/v1/racks.proto",
    "farrier/v1/images.proto",
    "farrier/v1/users.proto",
    "farrier/v1/events.proto",
    "farrier/v1/projects.proto",
    "farrier/v1/pools.proto",
    "farrier/v1/scripts.proto",
    "farrier/v1/operations.proto",
    "farrier/v1/audit.proto",
    "farrier/v1/layouts.proto",
    "farrier/v1/bmcs.proto",
    "farrier/agent/v1/agent.proto",
    "farrier/rack/v1/rack.proto",
    "farrier/rack/v1/gateway.proto",
];

/// Messages that are also read from files and written into them.
const LAYOUTS: &[&str] = &[
    "StorageLayout",
    "DiskLayout",
    "Partition",
    "RaidArray",
    "VolumeGroup",
    "LogicalVolume",
    "FilesystemMount",
    "NetworkLayout",
    "PhysicalInterface",
    "InterfaceAddresses",
    "Bond",
    "Bridge",
    "Vlan",
    "Route",
];
const AS_FILE: &str = "#[derive(serde::Serialize, serde::Deserialize)] #[serde(default, deny_unknown_fields)]";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = env::var("OUT_DIR")?;
    fs::write(Path::new(&out).join("descriptors.bin"), descriptors.encode_to_vec())?;
    let mut made = tonic_prost_build::configure();
    for layout in LAYOUTS {
        // People write layouts into files: JSON or TOML, with the names of the contract.
        made = made.type_attribute(format!("farrier.v1.{layout}"), AS_FILE);
    }
    made.compile_fds(descriptors)?;
    Ok(())
}
