//! Whether clients and daemon fit together.

use nixctl_proto::health::check::Check;

use super::Found;
use crate::health::look::versions::VersionFacts;
use crate::health::mend::Mend;
use crate::health::mend::unit::Restart;

pub(super) fn judge(facts: &VersionFacts) -> Vec<Found> {
    let mut found: Vec<Found> = daemon(facts).into_iter().collect();
    let Some(ours) = &facts.ours else {
        return found;
    };
    for (path, version) in facts.others.iter().filter(|(_, version)| version != ours) {
        found.push(
            Found::new(Check::Mixed, path.display().to_string())
                .seen(format!("it is Nix {version}"))
                .expected(format!("Nix {ours}, as the daemon"))
                .help(format!(
                    "take it out of that profile (nix-env --uninstall nix), or remove {}",
                    path.display()
                )),
        );
    }
    found
}

fn daemon(facts: &VersionFacts) -> Option<Found> {
    let (installed, running) = (facts.installed.as_ref()?, facts.running.as_ref()?);
    if *installed == running.path {
        return None;
    }
    let found = Found::new(Check::DaemonOld, &running.unit)
        .seen(format!("it runs {}", running.path))
        .expected(installed.clone());
    Some(if running.is_busy {
        found.help(format!(
            "it works for somebody and is restarted once it does not; at once: \
             systemctl restart {}",
            running.unit
        ))
    } else {
        found.mend(Mend::Restart(Restart {
            unit: running.unit.clone(),
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::ids;
    use super::*;
    use crate::health::look::versions::Running;

    fn healthy() -> VersionFacts {
        VersionFacts {
            ours: Some("2.34.8".to_owned()),
            installed: Some("/nix/store/new".to_owned()),
            running: Some(Running {
                unit: "nix-daemon.service".to_owned(),
                path: "/nix/store/new".to_owned(),
                is_busy: true,
            }),
            others: vec![("/root/.nix-profile/bin/nix".into(), "2.34.8".to_owned())],
        }
    }

    #[test]
    fn a_healthy_machine_has_no_finding() {
        assert_eq!(judge(&healthy()), []);
        let stopped = VersionFacts {
            running: None,
            ..healthy()
        };
        assert_eq!(judge(&stopped), []);
    }

    #[test]
    fn an_old_daemon_is_restarted_once_it_is_idle() {
        for (is_busy, cures) in [(true, 0), (false, 1)] {
            let mut facts = healthy();
            facts.running = Some(Running {
                path: "/nix/store/old".to_owned(),
                is_busy,
                ..facts.running.unwrap()
            });
            let found = judge(&facts);
            assert_eq!(ids(&found), ["versions.daemon-old nix-daemon.service"]);
            assert_eq!(found[0].cures.len(), cures);
        }
    }

    #[test]
    fn another_version_that_is_found_first_is_named() {
        let mut facts = healthy();
        facts.others[0].1 = "2.26.3".to_owned();
        assert_eq!(
            ids(&judge(&facts)),
            ["versions.mixed /root/.nix-profile/bin/nix"]
        );
    }
}
