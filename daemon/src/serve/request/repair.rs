//! Canonical form of what is asked of the health checks: ids that there are, each once.

use nixctl_proto::Failure;
use nixctl_proto::health::Target;
use nixctl_proto::health::check::Check;
use nixctl_proto::request::RepairRequest;

use super::invalid;

/// Most checks and findings that one request names.
const MAX_TARGETS: usize = 256;
/// Longest subject, in bytes: that of a path.
const MAX_SUBJECT: usize = 4096;

/// The canonical form of a repair.
pub fn repair(request: RepairRequest) -> Result<RepairRequest, Failure> {
    if request.automatic {
        let why = "only the daemon itself repairs without being asked";
        return Err(invalid("automatic", "yes", why));
    }
    let mut targets = request.targets;
    few("finding", targets.len())?;
    for target in &targets {
        known("finding", &target.check)?;
        subject(target)?;
    }
    targets.sort();
    targets.dedup();
    Ok(RepairRequest {
        targets,
        automatic: false,
    })
}

/// The canonical form of the ids of checks.
pub fn checks(mut ids: Vec<String>) -> Result<Vec<String>, Failure> {
    few("check", ids.len())?;
    for id in &ids {
        known("check", id)?;
    }
    ids.sort();
    ids.dedup();
    Ok(ids)
}

fn few(what: &str, number: usize) -> Result<(), Failure> {
    if number <= MAX_TARGETS {
        return Ok(());
    }
    let why = format!("at most {MAX_TARGETS} can be named");
    Err(invalid(what, &number.to_string(), &why))
}

fn known(what: &str, id: &str) -> Result<(), Failure> {
    if Check::by_id(id).is_some() {
        return Ok(());
    }
    let failure = invalid(what, id, "there is no such check");
    Err(failure.with_help(match Check::nearest(id) {
        Some(near) => format!("did you mean {near}? `nixctl check --list` lists all"),
        None => "`nixctl check --list` lists all".to_owned(),
    }))
}

fn subject(target: &Target) -> Result<(), Failure> {
    let Some(subject) = &target.subject else {
        return Ok(());
    };
    let printable = !subject.chars().any(char::is_control);
    if printable && subject.len() <= MAX_SUBJECT {
        return Ok(());
    }
    let why = format!("its subject must be at most {MAX_SUBJECT} visible characters");
    Err(invalid("finding", &target.check, &why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Result<RepairRequest, Failure> {
        repair(RepairRequest {
            targets: texts.iter().map(|text| Target::from(*text)).collect(),
            automatic: false,
        })
    }

    #[test]
    fn each_is_named_once_and_known() {
        let id = Check::ALL[0].id();
        let about = format!("{id}:/nix");
        let request = of(&[&about, &id, &about]).unwrap();
        let expected = [Target::from(id.as_str()), Target::from(about.as_str())];
        assert_eq!(request.targets, expected);
        for wrong in ["mounts", "mounts.no-such", "", "mounts.no-such:/nix"] {
            let failure = of(&[wrong]).unwrap_err();
            assert!(failure.message.contains("no such check"), "{failure:?}");
        }
        assert!(of(&[&format!("{id}:a\nb")]).is_err());
        assert!(of(&[&format!("{id}:{}", "x".repeat(5000))]).is_err());
        assert!(checks(vec!["x".to_owned(); 300]).is_err());
        assert_eq!(checks(vec![id.clone(), id.clone()]).unwrap(), [id]);
    }

    #[test]
    fn nobody_speaks_for_the_daemon() {
        let request = RepairRequest {
            targets: Vec::new(),
            automatic: true,
        };
        assert!(repair(request).is_err());
    }
}
