//! Taking off what is owned: backwards, with the undo data that making it recorded.

use super::own;
use crate::engine::{Owned, Step};
use crate::health::database::COPIES_DIR;
use crate::resource::nix_tree::NixTree;
use crate::resource::{Resource, Undo};

/// The steps of taking Nix off; none when nothing is owned.
///
/// With `keep_store` the tree below /nix stays, with the release, its registration and the
/// profile: a later install takes them back. `owned` is in the order of making; what belongs to
/// the daemon itself is left out. `copies` of Nix's database, when there are any, go after the
/// database: what Nix is installed next has another one, for which they are of no use.
pub fn uninstall(owned: &[Owned], keep_store: bool, copies: bool) -> Vec<Step> {
    let nix: Vec<&Owned> = owned
        .iter()
        .filter(|owned| !own::is_own(&owned.resource))
        .collect();
    if keep_store && nix.iter().all(|owned| is_store(&owned.resource)) {
        return Vec::new(); // what is left is what shall stay
    }
    let mut steps: Vec<Step> = nix
        .into_iter()
        .rev()
        .cloned()
        .filter_map(|Owned { resource, undo, .. }| match resource {
            Resource::NixTree(tree) if keep_store => Some(Step::Remove(
                Resource::NixTree(NixTree { keep: true, ..tree }),
                undo,
            )),
            resource if keep_store && is_store(&resource) => None,
            resource => Some(Step::Remove(resource, undo)),
        })
        .collect();
    if copies && steps.iter().any(takes_database) {
        steps.push(Step::Discard(COPIES_DIR.into()));
    }
    steps
}

/// Whether Nix's database goes whole with a step; one that was there before us stays.
fn takes_database(step: &Step) -> bool {
    match step {
        Step::Remove(Resource::NixTree(tree), Undo::Created) => !tree.keep,
        Step::Remove(Resource::Registration(_), Undo::Created) => true,
        _ => false,
    }
}

/// Whether a resource lies below /nix and stays with the store.
fn is_store(resource: &Resource) -> bool {
    matches!(
        resource,
        Resource::NixTree(_)
            | Resource::Payload(_)
            | Resource::Registration(_)
            | Resource::Profile(_)
    )
}

/// The steps of taking the daemon itself off.
pub fn self_uninstall(owned: &[Owned]) -> Vec<Step> {
    let own = owned
        .iter()
        .rev()
        .filter(|owned| own::is_own(&owned.resource))
        .cloned();
    let mut steps = Vec::new();
    let mut asides = Vec::new();
    for Owned { resource, undo, .. } in own {
        if let Resource::Program(program) = &resource {
            asides.push(Step::Discard(program.aside()));
        }
        steps.push(Step::Remove(resource, undo));
    }
    // Programs can be brought back until everything else is off.
    steps.extend(asides);
    steps
}

#[cfg(test)]
mod tests {
    use nixctl_proto::OperationId;

    use super::*;
    use crate::resource::directory::Directory;
    use crate::resource::group::Group;
    use crate::resource::profile::Profile;
    use crate::resource::registration::Registration;

    fn folder(path: &str) -> Resource {
        let path = path.into();
        Resource::Directory(Directory {
            path,
            mode: 0o755,
            uid: 0,
            gid: 0,
            lenient: true,
        })
    }

    fn tree(keep: bool) -> Resource {
        Resource::NixTree(NixTree {
            store_gid: 30000,
            keep,
        })
    }

    fn owned() -> Vec<Owned> {
        let registration = Resource::Registration(Registration {
            sha256: "a".to_owned(),
        });
        let profile = Resource::Profile(Profile {
            link: "/p".into(),
            sha256: "a".to_owned(),
        });
        [
            (
                Resource::Group(Group {
                    name: "nixctl".to_owned(),
                }),
                Undo::Created,
            ),
            (folder("/etc/nix"), Undo::Created),
            (tree(false), Undo::Created),
            (registration, Undo::Created),
            (profile, Undo::Created),
            (folder("/etc/profile.d"), Undo::Nothing),
        ]
        .into_iter()
        .zip(0..)
        .map(|((resource, undo), order)| Owned {
            order,
            by: OperationId::from_parts(0, 0),
            resource,
            undo,
        })
        .collect()
    }

    #[test]
    fn everything_of_nix_goes_backwards() {
        let all = owned();
        let expected: Vec<Step> = all[1..]
            .iter()
            .rev()
            .cloned()
            .map(|o| Step::Remove(o.resource, o.undo))
            .collect();
        assert_eq!(uninstall(&all, false, false), expected);
        assert_eq!(
            self_uninstall(&all),
            [Step::Remove(all[0].resource.clone(), Undo::Created)]
        );
    }

    #[test]
    fn copies_of_the_database_go_with_it_and_after_it() {
        let all = owned();
        let discard = Step::Discard(COPIES_DIR.into());
        let steps = uninstall(&all, false, true);
        assert_eq!(steps.last(), Some(&discard));
        assert_eq!(steps[..steps.len() - 1], uninstall(&all, false, false));
        // What they are copies of stays.
        let mut others = owned();
        for it in others.iter_mut().filter(|it| is_store(&it.resource)) {
            it.undo = Undo::Entries(vec!["var".to_owned()]);
        }
        for (owned, keep_store) in [(&all, true), (&others, false), (&all[..2].to_vec(), false)] {
            let steps = uninstall(owned, keep_store, true);
            assert!(!steps.is_empty() && !steps.contains(&discard), "{steps:?}");
        }
        assert_eq!(uninstall(&[], false, true), []);
    }

    #[test]
    fn nothing_owned_is_nothing_to_do() {
        assert_eq!(uninstall(&[], false, false), []);
        assert_eq!(uninstall(&owned()[..1], false, false), []);
        assert_eq!(self_uninstall(&[]), []);
    }

    #[test]
    fn the_store_can_stay() {
        let steps = uninstall(&owned(), true, false);
        assert_eq!(
            steps,
            [
                Step::Remove(folder("/etc/profile.d"), Undo::Nothing),
                Step::Remove(tree(true), Undo::Created),
                Step::Remove(folder("/etc/nix"), Undo::Created),
            ]
        );
    }

    #[test]
    fn keeping_a_store_that_is_all_that_is_left_is_nothing_to_do() {
        let store: Vec<Owned> = owned()
            .into_iter()
            .filter(|o| is_store(&o.resource))
            .collect();
        assert_eq!(uninstall(&store, true, false), []);
        assert_eq!(uninstall(&store, false, false).len(), 3);
    }
}
