//! The files that nixctl puts on a machine, as they are kept under `units/` in the repository.
//!
//! `units/` mirrors the tree of an installed machine: a file lies at the same path there, so that
//! what is reviewed is what is installed. Nothing in them is filled in at run time.

/// A file that is installed as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shipped {
    /// Absolute path on the machine.
    pub path: &'static str,
    /// Content.
    pub content: &'static str,
}

macro_rules! shipped {
    ($($(#[$doc:meta])* $name:ident = $path:literal;)+) => {
        $(
            $(#[$doc])*
            pub const $name: Shipped = Shipped {
                path: $path,
                content: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../units", $path)),
            };
        )+

        /// Every shipped file.
        pub const ALL: &[Shipped] = &[$($name),+];
    };
}

shipped! {
    /// Puts Nix into the environment of sh, bash and zsh.
    HOOK_SH = "/etc/nix/nixctl.sh";
    /// The same for fish.
    HOOK_FISH = "/etc/nix/nixctl.fish";
    /// Block in the start-up files of sh, bash and zsh: the one all installers write, then ours.
    BLOCK_SH = "/etc/profile.d/nix.sh";
    /// Block in the start-up file of fish.
    BLOCK_FISH = "/etc/fish/conf.d/nix.fish";
    /// Service of Nix's daemon.
    NIX_DAEMON_SERVICE = "/etc/systemd/system/nix-daemon.service";
    /// Socket of Nix's daemon.
    NIX_DAEMON_SOCKET = "/etc/systemd/system/nix-daemon.socket";
    /// Folders that are made anew when they are missing at boot.
    NIX_DAEMON_TMPFILES = "/etc/tmpfiles.d/nix-daemon.conf";
    /// Our own service.
    NIXCTLD_SERVICE = "/etc/systemd/system/nixctld.service";
    /// Where our program is when /usr/local cannot be written.
    NIXCTLD_PROGRAM = "/etc/systemd/system/nixctld.service.d/program.conf";
    /// What tells systemd that another version of us has to prove itself.
    NIXCTLD_TAKEOVER = "/etc/systemd/system/nixctld.service.d/takeover.conf";
    /// The same where /usr/local cannot be written.
    NIXCTLD_TAKEOVER_OPT = "/etc/systemd/system/nixctld.service.d/takeover-opt.conf";
    /// Our own socket.
    NIXCTLD_SOCKET = "/etc/systemd/system/nixctld.socket";
    /// The group of those who may change things without a password.
    NIXCTL_SYSUSERS = "/etc/sysusers.d/nixctl.conf";
    /// Who may own our name on the bus, and who may send to it.
    BUS_POLICY = "/etc/dbus-1/system.d/org.nixctl1.conf";
    /// How the bus starts us.
    BUS_ACTIVATION = "/usr/share/dbus-1/system-services/org.nixctl1.service";
    /// What may be authorised, and by whom.
    POLKIT_ACTIONS = "/usr/share/polkit-1/actions/org.nixctl1.policy";
    /// What members of our group may do without a password.
    POLKIT_RULES = "/usr/share/polkit-1/rules.d/50-nixctl.rules";
}

/// First line of our own part of a shell block.
pub const OWN_BLOCK_BEGIN: &str = "# nixctl\n";

/// Our own part of a shell block, without the part that other installers write, too.
pub fn own_part(block: Shipped) -> &'static str {
    block
        .content
        .find(OWN_BLOCK_BEGIN)
        .map_or(block.content, |at| &block.content[at..])
}

/// The part of a shell block that other installers write, too.
pub fn common_part(block: Shipped) -> &'static str {
    block
        .content
        .find(OWN_BLOCK_BEGIN)
        .map_or("", |at| &block.content[..at])
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
