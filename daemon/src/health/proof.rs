//! What a repair has brought about: whether it helped, and whether something is worse than before.
//!
//! Pure. A repair of which nothing helped is taken back, and so is one after which something is
//! wrong that was not before and is worse than what it was made against. What comes to light only
//! because the store is mounted again was there before, though nobody could see it.

use std::collections::BTreeSet;

use nixctl_proto::health::Severity;
use nixctl_proto::{Code, Failure};

use super::judge::Found;
use super::plan::sighting;
use super::sighting::Sighting;
use nixctl_proto::health::check::Check;

/// What is known of a repair when its steps are done.
#[derive(Debug, Clone, Copy)]
pub struct Done<'a> {
    /// What it was made against.
    pub meant: &'a BTreeSet<Sighting>,
    /// How bad the worst of that was.
    pub worst: Severity,
    /// All that stood before.
    pub before: &'a BTreeSet<Sighting>,
    /// All that is found now.
    pub after: &'a [Found],
    /// Whether it mounted something.
    pub mounted: bool,
}

/// What is still there of what it was made against; an error when it has to be taken back.
///
/// # Errors
/// Why it is worth nothing, or less.
pub fn prove(done: &Done<'_>) -> Result<Vec<Sighting>, Failure> {
    let after: Vec<(Sighting, &Found)> = done.after.iter().map(|it| (sighting(it), it)).collect();
    let is_new = |of: &Sighting| !done.before.contains(of) && !done.meant.contains(of);
    let worse = after
        .iter()
        .find(|(of, it)| it.severity > done.worst && it.check != Check::CannotLook && is_new(of));
    if let Some((of, it)) = worse.filter(|_| !done.mounted) {
        let text = format!("the repair made something worse: {of}: {}", it.seen);
        return Err(Failure::new(Code::NotRepaired, text));
    }
    let left: Vec<Sighting> = after
        .into_iter()
        .map(|(of, _)| of)
        .filter(|of| done.meant.contains(of))
        .collect();
    if !left.is_empty() && left.len() == done.meant.len() {
        let names: Vec<String> = left.iter().map(Sighting::to_string).collect();
        let text = format!("the repair did not help: {} as before", names.join(", "));
        return Err(Failure::new(Code::NotRepaired, text));
    }
    Ok(left)
}

/// Sees that nothing is wrong after an upgrade which was not before.
///
/// # Errors
/// What is.
pub fn nothing_worse(before: &BTreeSet<Sighting>, after: &[Found]) -> Result<(), Failure> {
    let is_new = |it: &&Found| {
        it.severity >= Severity::Error
            && it.check != Check::CannotLook
            && !before.contains(&sighting(it))
    };
    match after.iter().find(is_new) {
        None => Ok(()),
        Some(it) => {
            let text = format!(
                "the new Nix made something worse: {}: {}",
                sighting(it),
                it.seen
            );
            Err(Failure::new(Code::Unproven, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOST: (Check, &str) = (Check::NotMounted, "/nix");
    const WAITS: (Check, &str) = (Check::WaitingUnits, "a");
    const OTHER: (Check, &str) = (Check::WaitingUnits, "b");

    fn all(of: &[(Check, &str)]) -> BTreeSet<Sighting> {
        let one = |(check, of): &(Check, &str)| Sighting::new(check.id(), *of);
        of.iter().map(one).collect()
    }

    fn proved(after: &[(Check, &str)], mounted: bool) -> Result<usize, String> {
        let after: Vec<Found> = after.iter().map(|(c, of)| Found::new(*c, *of)).collect();
        let done = Done {
            meant: &all(&[WAITS, OTHER]),
            worst: Severity::Error,
            before: &all(&[WAITS, OTHER]),
            after: &after,
            mounted,
        };
        prove(&done).map(|left| left.len()).map_err(|it| it.message)
    }

    #[test]
    fn an_upgrade_is_kept_where_it_made_nothing_worse() {
        let found = |(check, of)| Found::new(check, of);
        let (old, new) = (all(&[LOST]), vec![found(LOST)]);
        assert!(nothing_worse(&old, &new).is_ok(), "it was there before");
        let mild = found((Check::Unwatched, "x"));
        assert!(nothing_worse(&all(&[]), &[mild]).is_ok());
        assert!(nothing_worse(&all(&[]), &[found((Check::CannotLook, "conf"))]).is_ok());
        let failure = nothing_worse(&all(&[]), &new).unwrap_err();
        assert_eq!(failure.code, Code::Unproven);
        assert!(failure.message.contains("/nix"), "{}", failure.message);
    }

    #[test]
    fn a_repair_is_kept_where_it_helped() {
        assert_eq!(proved(&[], false), Ok(0));
        assert_eq!(proved(&[WAITS], false), Ok(1));
        assert_eq!(proved(&[WAITS, (Check::WaitingUnits, "new")], false), Ok(1));
        let vain = proved(&[WAITS, OTHER], false).unwrap_err();
        assert!(vain.contains("did not help"), "{vain}");
        let worse = proved(&[LOST], false).unwrap_err();
        assert!(worse.contains("worse"), "{worse}");
        assert_eq!(proved(&[LOST], true), Ok(0));
        assert_eq!(proved(&[(Check::CannotLook, "conf")], false), Ok(0));
    }
}
