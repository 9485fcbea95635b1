//! SELinux: whether it is on, and whether its tools are there.

use std::path::Path;

use super::links::{exists, read_text};
use crate::host::{FsError, Host};

/// Tools that labelling needs.
const TOOLS: [&str; 2] = ["semodule", "restorecon"];

/// SELinux.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selinux {
    /// Whether the kernel has it switched on.
    pub enabled: bool,
    /// Whether it refuses rather than logs.
    pub enforcing: bool,
    /// Tools that labelling needs and that are not installed.
    pub missing_tools: Vec<String>,
}

pub(super) fn read(host: &Host, image: bool) -> Result<Selinux, FsError> {
    if image || !exists(&host.fs, Path::new("/sys/fs/selinux/enforce"))? {
        return Ok(Selinux::default());
    }
    let enforce = read_text(&host.fs, Path::new("/sys/fs/selinux/enforce"), 16)?;
    Ok(Selinux {
        enabled: true,
        enforcing: enforce.is_some_and(|text| text.trim() == "1"),
        missing_tools: TOOLS
            .iter()
            .filter(|tool| host.exec.find(tool).is_none())
            .map(|tool| (*tool).to_owned())
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::facts::testing::Machine;

    #[test]
    fn enforcing_permissive_and_off() {
        let machine = Machine::new()
            .file("/sys/fs/selinux/enforce", "1")
            .tool("restorecon");
        let selinux = read(&machine.host(), false).unwrap();
        assert!(selinux.enabled && selinux.enforcing);
        assert_eq!(selinux.missing_tools, ["semodule"]);
        assert_eq!(read(&machine.host(), true).unwrap(), Selinux::default());
        let permissive = Machine::new().file("/sys/fs/selinux/enforce", "0");
        assert!(!read(&permissive.host(), false).unwrap().enforcing);
        assert!(!read(&Machine::new().host(), false).unwrap().enabled);
    }
}
