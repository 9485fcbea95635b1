//! The areas of a machine: what is looked at in one go, and to which machines it matters.

/// What is looked at in one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Area {
    /// /nix and what should be mounted there.
    Mounts,
    /// nix-daemon and its units.
    Daemon,
    /// Things that nixctl owns and that no other area looks at.
    Own,
    /// Folders, links and store paths below /nix.
    Tree,
    /// Build users and their group.
    Accounts,
    /// nix.conf and the files it names.
    Conf,
    /// Nix's databases.
    Database,
    /// CA certificates.
    Tls,
    /// Hooks in the start-up files of shells.
    Shells,
    /// Files that the user put under care.
    Managed,
    /// Versions that do not fit together.
    Versions,
    /// What other installers left.
    Leftovers,
    /// Bytes and inodes.
    Space,
    /// SELinux.
    Selinux,
    /// The build sandbox.
    Sandbox,
    /// The wall clock.
    Clock,
    /// Operations of nixctl.
    Operations,
    /// The release feed.
    Upgrade,
}

impl Area {
    /// Every area, the most important first.
    pub const ALL: [Area; 18] = [
        Area::Mounts,
        Area::Daemon,
        Area::Own,
        Area::Tree,
        Area::Accounts,
        Area::Conf,
        Area::Database,
        Area::Tls,
        Area::Shells,
        Area::Managed,
        Area::Versions,
        Area::Leftovers,
        Area::Space,
        Area::Selinux,
        Area::Sandbox,
        Area::Clock,
        Area::Operations,
        Area::Upgrade,
    ];

    /// Whether it is about every system alike, also one whose generation owns its files.
    pub fn is_of_any_system(self) -> bool {
        !self.is_of_nix() && self != Area::Own
    }

    /// Whether it is about what lies in the store, or runs from it.
    pub fn is_of_store(self) -> bool {
        match self {
            Area::Daemon
            | Area::Tree
            | Area::Database
            | Area::Versions
            | Area::Leftovers
            | Area::Selinux
            | Area::Sandbox
            | Area::Space => true,
            Area::Mounts
            | Area::Own
            | Area::Accounts
            | Area::Conf
            | Area::Tls
            | Area::Shells
            | Area::Clock
            | Area::Operations
            | Area::Upgrade
            | Area::Managed => false,
        }
    }

    /// Whether it is about a Nix that was put on the machine.
    pub fn is_of_nix(self) -> bool {
        match self {
            Area::Mounts
            | Area::Own
            | Area::Space
            | Area::Clock
            | Area::Operations
            | Area::Upgrade
            | Area::Managed => false,
            Area::Daemon
            | Area::Tree
            | Area::Accounts
            | Area::Conf
            | Area::Database
            | Area::Tls
            | Area::Shells
            | Area::Versions
            | Area::Leftovers
            | Area::Selinux
            | Area::Sandbox => true,
        }
    }

    /// First part of the ids of its checks.
    pub fn name(self) -> &'static str {
        match self {
            Area::Mounts => "mounts",
            Area::Daemon => "daemon",
            Area::Own => "own",
            Area::Tree => "tree",
            Area::Accounts => "accounts",
            Area::Conf => "conf",
            Area::Database => "database",
            Area::Tls => "tls",
            Area::Shells => "shells",
            Area::Managed => "managed",
            Area::Versions => "versions",
            Area::Leftovers => "leftovers",
            Area::Space => "space",
            Area::Selinux => "selinux",
            Area::Sandbox => "sandbox",
            Area::Clock => "clock",
            Area::Operations => "operations",
            Area::Upgrade => "upgrade",
        }
    }
}
