//! What a step means for the list of what is owned. Pure.

use super::step::Step;
use crate::resource::nix_conf::NixConfUndo;
use crate::resource::users::UsersUndo;
use crate::resource::{Resource, Undo, Undone};
use crate::upgrade::step::UpgradeStep;

/// Undo data of a resource that was owned already and was made once more: what the first making
/// needs, and what the second one added to it.
pub fn joined(earlier: &Undo, fresh: Undo) -> Undo {
    match (earlier, fresh) {
        (Undo::Nothing, fresh) => fresh,
        (Undo::NixConf(earlier), Undo::NixConf(fresh)) => {
            // Comments belong to the line below them, so the lines stay together.
            let is_new = fresh.added.iter().any(|line| !earlier.added.contains(line));
            let mut added = earlier.added.clone();
            added.extend(fresh.added.into_iter().filter(|_| is_new));
            Undo::NixConf(NixConfUndo {
                created: earlier.created || fresh.created,
                added,
            })
        }
        (Undo::Users(earlier), Undo::Users(fresh)) => {
            let users = union(&earlier.users, fresh.users);
            let mut members = union(&earlier.members, fresh.members);
            members.retain(|member| !users.contains(member));
            Undo::Users(UsersUndo {
                users,
                members,
                group: earlier.group || fresh.group,
            })
        }
        (earlier, _) => earlier.clone(),
    }
}

fn union(earlier: &[String], fresh: Vec<String>) -> Vec<String> {
    let mut all = earlier.to_vec();
    all.extend(fresh.into_iter().filter(|name| !earlier.contains(name)));
    all
}

/// What a step means for what is owned.
#[derive(Debug)]
pub enum Ownership<'a> {
    /// The resource is owned from now on.
    Take(&'a Resource, Undo),
    /// The resource is not owned any more.
    Drop(&'a Resource),
    /// Nothing changes.
    Same,
}

impl<'a> Ownership<'a> {
    /// What a step that was done means.
    pub fn of_done(step: &'a Step, undo: &Undo, undone: &Undone) -> Self {
        match step {
            Step::Ensure(resource) | Step::Adopt(resource, _) => {
                Ownership::Take(resource, step.owned_undo(undo))
            }
            // A store that was kept stays ours, so that a later uninstall can take it off.
            Step::Remove(Resource::NixTree(tree), _) if tree.keep => Ownership::Same,
            // So does one of which not all could go.
            Step::Remove(Resource::NixTree(_), _) if matches!(undone, Undone::Left(_)) => {
                Ownership::Same
            }
            Step::Remove(resource, _) => Ownership::Drop(resource),
            Step::Upgrade(UpgradeStep::Disown(it)) => Ownership::Drop(&it.resource),
            Step::Fetch(_)
            | Step::SelfTest(_)
            | Step::Discard(_)
            | Step::Switch(_)
            | Step::Mend(_)
            | Step::Upgrade(_)
            | Step::SelfUpgrade(_) => Ownership::Same,
        }
    }

    /// What a step means that was undone as far as the machine let it: what is left of it is owned.
    pub fn of_left(step: &'a Step, undo: &Undo, undone: &Undone) -> Self {
        match step {
            Step::Ensure(resource @ Resource::NixTree(_)) if matches!(undone, Undone::Left(_)) => {
                Ownership::Take(resource, step.owned_undo(undo))
            }
            _ => Ownership::Same,
        }
    }

    /// What a step that was undone means.
    pub fn of_undone(step: &'a Step) -> Self {
        match step {
            Step::Ensure(resource) | Step::Adopt(resource, _) => Ownership::Drop(resource),
            Step::Remove(Resource::NixTree(tree), _) if tree.keep => Ownership::Same,
            Step::Remove(resource, undo) => Ownership::Take(resource, undo.clone()),
            Step::Fetch(_)
            | Step::SelfTest(_)
            | Step::Discard(_)
            | Step::Switch(_)
            | Step::Mend(_)
            | Step::Upgrade(_)
            | Step::SelfUpgrade(_) => Ownership::Same,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_kept_stays_owned() {
        use crate::resource::nix_tree::NixTree;
        let step = |keep| {
            let tree = Resource::NixTree(NixTree { store_gid: 0, keep });
            Step::Remove(tree, Undo::Created)
        };
        let stays = |keep, undone| {
            matches!(
                Ownership::of_done(&step(keep), &Undo::Created, undone),
                Ownership::Same
            )
        };
        let left = Undone::Left(vec!["/nix/mine: it is busy".to_owned()]);
        assert!(stays(true, &Undone::Clean) && !stays(false, &Undone::Clean));
        assert!(stays(false, &left));
        let kept = Undone::Kept("/nix is a mount point and stays, empty".to_owned());
        assert!(!stays(false, &kept));
        // An install that is undone and cannot take all of its tree back off owns the rest.
        let made = Step::Ensure(Resource::NixTree(NixTree {
            store_gid: 0,
            keep: false,
        }));
        let of_left = |undone| Ownership::of_left(&made, &Undo::Created, undone);
        assert!(matches!(of_left(&left), Ownership::Take(..)));
        assert!(matches!(of_left(&Undone::Clean), Ownership::Same));
        assert!(matches!(Ownership::of_undone(&step(true)), Ownership::Same));
    }

    #[test]
    fn what_is_let_go_of_is_not_owned_any_more() {
        use crate::resource::group::Group;
        use crate::upgrade::forget::Disown;
        let group = Resource::Group(Group {
            name: "x".to_owned(),
        });
        let step = Step::Upgrade(UpgradeStep::Disown(Disown {
            resource: Box::new(group.clone()),
        }));
        let done = Ownership::of_done(&step, &Undo::Nothing, &Undone::Clean);
        assert!(matches!(done, Ownership::Drop(it) if *it == group));
        // Undone, the list says again what it said before; nothing is made up.
        assert!(matches!(Ownership::of_undone(&step), Ownership::Same));
        let left = Ownership::of_left(&step, &Undo::Nothing, &Undone::Clean);
        assert!(matches!(left, Ownership::Same));
    }
}
