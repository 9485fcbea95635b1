//! Start-up files of shells that lost what puts Nix on PATH.

use super::{Builds, Damage, Outcome};

/// Builds are in a login shell of bash, which another file looks after.
const LOST: Damage = Damage {
    checks: &["shells.hook-lost"],
    ..Damage::PLAIN
};

/// All of this area.
pub const ALL: &[Damage] = &[
    Damage {
        name: "zshrc-written-anew",
        story: "an update of the system has replaced the start-up file of zsh",
        rows: &[112],
        make: "without_nix /etc/zsh/zshrc",
        there: "! grep -q nix /etc/zsh/zshrc",
        ..LOST
    },
    Damage {
        name: "zprofile-written-anew",
        story: "login shells of zsh have another PATH since an update",
        rows: &[112, 113],
        make: "without_nix /etc/zsh/zprofile",
        there: "! grep -q nix /etc/zsh/zprofile",
        ..LOST
    },
    Damage {
        name: "bashrc-written-anew",
        story: "terminals of bash do not find Nix since an update",
        rows: &[112],
        make: "without_nix /etc/bash.bashrc",
        there: "no_nix_typed_in bash",
        // The lines come back at the beginning of the file, before the one that somebody had put
        // before them.
        differs: &["/etc/bash.bashrc"],
        ..LOST
    },
    Damage {
        name: "bashrc-with-half-a-block",
        story: "a merge of the distribution's changes has taken a part of the lines",
        rows: &[112],
        make: "sed -i '/nixctl.sh/d' /etc/bash.bashrc",
        there: "! grep -q nixctl.sh /etc/bash.bashrc",
        builds: Builds::Untold,
        checks: &["shells.hook-changed"],
        outcome: Outcome::Explained,
        kept: &["/etc/bash.bashrc"],
        ..LOST
    },
    Damage {
        name: "profile-script-gone",
        story: "login shells of sh and bash do not find Nix: /etc/profile.d/nix.sh is gone",
        rows: &[113],
        make: "rm /etc/profile.d/nix.sh",
        there: "no_nix_in sh",
        builds: Builds::Untold,
        ..LOST
    },
    Damage {
        name: "fish-script-gone",
        story: "fish does not find Nix",
        rows: &[84],
        make: "rm /etc/fish/conf.d/nix.fish",
        there: "no_nix_in fish",
        checks: &["shells.hook-lost", "own.lost"],
        ..LOST
    },
    Damage {
        name: "profile-does-not-read-the-folder",
        story: "all start-up files were replaced by those of another distribution",
        rows: &[112, 113],
        make: "for file in /etc/zsh/zshrc /etc/zsh/zprofile /etc/bash.bashrc; do without_nix $file; done
               rm /etc/profile.d/nix.sh /etc/fish/conf.d/nix.fish",
        there: "no_nix_in bash && no_nix_in zsh && no_nix_in fish",
        differs: &["/etc/bash.bashrc"],
        builds: Builds::Nobody,
        ..LOST
    },
    Damage {
        name: "script-of-the-shells-gone",
        story: "the file that the start-up files read is gone, and no shell finds Nix",
        rows: &[113],
        make: "rm /etc/nix/nixctl.sh",
        there: "no_nix_in sh && no_nix_in zsh",
        builds: Builds::Nobody,
        checks: &["own.lost", "shells.hook-lost"],
        ..LOST
    },
];
