//! What others left is named, and never touched.

use nixctl_proto::health::check::Check;

use super::Found;
use crate::health::look::leftovers::LeftoverFacts;

pub(super) fn judge(facts: &LeftoverFacts) -> Vec<Found> {
    let mut found = Vec::new();
    for (path, seen) in &facts.statics {
        let path = path.display().to_string();
        let help = format!("when nix-darwin or NixOS is gone, move it away: mv {path} /root/");
        found.push(
            Found::new(Check::StaticLinks, path)
                .seen(seen)
                .expected("files of this system")
                .help(help),
        );
    }
    for path in &facts.receipts {
        found.push(
            Found::new(Check::Receipt, path.display().to_string())
                .seen("it belongs to another installer of Nix")
                .expected("nixctl alone looks after Nix")
                .help("do not run it; move it away once nothing of that installer is needed"),
        );
    }
    for (path, seen) in &facts.backups {
        let path = path.display().to_string();
        let help = format!("compare the two, then move it away: mv {path} {path}.old");
        found.push(
            Found::new(Check::Backups, path)
                .seen(seen)
                .expected("no copy")
                .help(help),
        );
    }
    if let Some((program, manager)) = &facts.package {
        found.push(
            Found::new(Check::Package, program)
                .seen(format!("a package of {manager} has put it there"))
                .expected("one Nix")
                .help("remove the distribution's package of Nix"),
        );
    }
    for (path, seen) in &facts.single_user {
        found.push(
            Found::new(Check::SingleUser, path.display().to_string())
                .seen(seen)
                .expected("everybody uses the daemon")
                .help("take the line out, or give the store back to root: see `nixctl check --explain`"),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::testing::ids;
    use super::*;

    #[test]
    fn a_healthy_machine_has_no_finding() {
        assert_eq!(judge(&LeftoverFacts::default()), []);
    }

    #[test]
    fn each_is_named_and_none_is_touched() {
        let seen = || "seen".to_owned();
        let facts = LeftoverFacts {
            statics: vec![("/etc/static".into(), seen())],
            receipts: vec!["/nix/receipt.json".into()],
            backups: vec![("/etc/bashrc.backup-before-nix".into(), seen())],
            package: Some(("/usr/bin/nix".to_owned(), "dpkg".to_owned())),
            single_user: vec![("/nix/store".into(), seen())],
        };
        let found = judge(&facts);
        assert_eq!(
            ids(&found),
            [
                "leftovers.static-links /etc/static",
                "leftovers.receipt /nix/receipt.json",
                "leftovers.backups /etc/bashrc.backup-before-nix",
                "leftovers.package /usr/bin/nix",
                "leftovers.single-user /nix/store",
            ]
        );
        assert!(
            found
                .iter()
                .all(|it| it.cures.is_empty() && !it.help.is_empty())
        );
    }
}
