//! What firmware keeps of a file that it loaded: enough to judge it, not the file.

use farrier_common::hardware::Architecture;

/// Octets kept from the beginning: where the headers of programs are.
pub const HEAD: usize = 1024;

/// A file that was loaded to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Octets.
    pub size: u64,
    /// Lower-case hex; empty if only the size is known.
    pub sha256: String,
    /// Its first octets.
    pub head: Vec<u8>,
}

impl Loaded {
    /// Can firmware of this kind start it? UEFI looks for a PE header with its machine type; a BIOS jumps in blindly.
    ///
    /// # Errors
    /// It is empty or no program for this machine.
    pub fn starts_on(&self, uefi: Option<Architecture>) -> Result<(), String> {
        if self.size == 0 {
            return Err("the loader is empty".to_owned());
        }
        let Some(architecture) = uefi else { return Ok(()) };
        let number = |at: usize| self.head.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
        let header = number(0x3c).map_or(0, usize::from);
        if !self.head.starts_with(b"MZ") || self.head.get(header..header + 4) != Some(b"PE\0\0") {
            return Err("the loader is no UEFI program".to_owned());
        }
        let wanted = match architecture {
            Architecture::Amd64 => 0x8664,
            Architecture::Arm64 => 0xaa64,
        };
        match number(header + 4) {
            Some(found) if found == wanted => Ok(()),
            found => Err(format!("the loader is for machine type {:#x}, not {wanted:#x}", found.unwrap_or(0))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uefi_starts_programs_of_its_own_kind() {
        let mut head = vec![0; 0x90];
        head[..2].copy_from_slice(b"MZ");
        head[0x3c] = 0x80;
        head[0x80..0x86].copy_from_slice(b"PE\0\0\x64\x86");
        let loaded = Loaded { size: 1 << 20, sha256: String::new(), head };
        assert!(loaded.starts_on(Some(Architecture::Amd64)).is_ok());
        assert!(loaded.starts_on(Some(Architecture::Arm64)).is_err());
        assert!(Loaded { size: 9, ..Loaded::default() }.starts_on(Some(Architecture::Amd64)).is_err());
        assert!(Loaded { size: 9, ..Loaded::default() }.starts_on(None).is_ok());
        assert!(Loaded::default().starts_on(None).is_err());
    }
}
