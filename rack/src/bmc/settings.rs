//! Settings of a machine's firmware, as its BMC shows and takes them.

/// What the firmware is set to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The BIOS attributes, in order of their names; empty: the BMC offers none.
    pub attributes: Vec<Attribute>,
    /// `None`: the BMC does not offer it.
    pub secure_boot: Option<SecureBoot>,
}

/// A BIOS attribute. Numbers and truth values are written as JSON writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its name, which is the vendor's.
    pub name: String,
    /// What it is.
    pub value: String,
    /// What it will be after the next start, if that is something else.
    pub pending: Option<String>,
}

/// UEFI Secure Boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecureBoot {
    /// It is on from the next start on.
    pub enable: bool,
    /// It was on at the last start; `None`: the BMC does not say.
    pub enforced: Option<bool>,
    /// `SetupMode`, `UserMode`, `AuditMode` or `DeployedMode`; empty: the BMC does not say.
    pub mode: String,
}

/// What is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Names and values of BIOS attributes.
    pub attributes: Vec<(String, String)>,
    /// `None`: as it is.
    pub secure_boot: Option<bool>,
}
