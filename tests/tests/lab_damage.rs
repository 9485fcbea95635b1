//! The judge of damages is not deceived: programs in nixctl's place that do well, badly or too much.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use nixctl_lab::damage::{Damage, Ground, Healthy, Judge, Patient};
use nixctl_lab::require;

/// How long a repair may take here. They are done when the program ends.
const PATIENCE: Duration = Duration::from_millis(500);

/// A program in nixctl's place: what it finds as long as this holds, and what it does about it with
/// and without consent.
struct Program {
    finds: &'static str,
    while_true: &'static str,
    repairs: &'static str,
    when_asked: &'static str,
}

impl Program {
    fn text(&self) -> String {
        let Self {
            finds,
            while_true,
            repairs,
            when_asked,
        } = self;
        format!(
            "#!/bin/sh
case \"$1 $2\" in
\"check \"*)
    if {while_true}; then
        echo '{{\"findings\":[{{\"check\":\"{finds}\"}}]}}'
        exit 6
    fi
    echo '{{\"findings\":[]}}' ;;
\"repair --yes\") {when_asked} ;;
repair*) {repairs} ;;
esac
"
        )
    }

    /// What the judge says about it.
    fn judged(&self, healthy: &Healthy, damage: &str) -> Vec<String> {
        let mut patient = Patient::admit(healthy).unwrap();
        let path = "/usr/local/bin/nixctl";
        let machine = &patient.world.machine;
        machine.write_file(path, self.text(), 0o755).unwrap();
        let damage = Damage::named(damage).unwrap();
        let wrong = Judge(PATIENCE).heal(&mut patient, damage).unwrap();
        println!("{}: {wrong:?}", damage.name);
        wrong
    }
}

const DOWN: Program = Program {
    finds: "daemon.socket-dead",
    while_true: "! systemctl -q is-active nix-daemon.socket",
    repairs: "systemctl start nix-daemon.socket",
    when_asked: "systemctl start nix-daemon.socket",
};
const EDITED: Program = Program {
    finds: "daemon.unit-edited",
    while_true: "grep -q =33 /etc/systemd/system/nix-daemon.service",
    repairs: "true",
    when_asked: "sed -i s/=33/=10/ /etc/systemd/system/nix-daemon.service; systemctl daemon-reload",
};
const LEFT: Program = Program {
    finds: "leftovers.backups",
    while_true: "test -e /etc/bash.bashrc.backup-before-nix",
    repairs: "true",
    when_asked: "true",
};

#[test]
fn a_good_program_is_good_and_a_bad_one_is_not() {
    if !require() {
        return;
    }
    let healthy = Ground::Plain.prepare().unwrap();
    let nothing: [&str; 0] = [];
    assert_eq!(DOWN.judged(&healthy, "daemon-not-started"), nothing);
    assert_eq!(EDITED.judged(&healthy, "unit-edited"), nothing);
    assert_eq!(LEFT.judged(&healthy, "backups-of-start-up-files"), nothing);
    let bad = [
        (
            Program {
                finds: "daemon.masked",
                ..DOWN
            },
            "daemon-not-started",
            "not found as",
        ),
        (
            Program {
                repairs: "true",
                ..DOWN
            },
            "daemon-not-started",
            "not repaired",
        ),
        (
            Program {
                repairs: "systemctl start nix-daemon.socket; echo more >>/etc/nix/mine/file",
                ..DOWN
            },
            "daemon-not-started",
            "~ /etc/nix/mine/file",
        ),
        (
            Program {
                while_true: "true",
                ..DOWN
            },
            "daemon-not-started",
            "daemon.socket-dead is left",
        ),
        (
            Program {
                repairs: EDITED.when_asked,
                ..EDITED
            },
            "unit-edited",
            "before somebody agreed",
        ),
        (
            Program {
                when_asked: "rm /etc/*.backup-before-nix",
                ..LEFT
            },
            "backups-of-start-up-files",
            "only a person can decide",
        ),
        (
            Program {
                when_asked: "echo more >>/etc/bash.bashrc.backup-before-nix",
                ..LEFT
            },
            "backups-of-start-up-files",
            "somebody's files were changed",
        ),
    ];
    for (program, damage, word) in bad {
        let wrong = program.judged(&healthy, damage);
        assert!(
            wrong.iter().any(|line| line.contains(word)),
            "{word}: {wrong:?}"
        );
    }
}
