//! What taking a resource off does, in the words of a list or a message.
//!
//! Kept apart from the kinds because one reads it as a whole: every line is an imperative, and
//! says of what was there before that it stays or comes back.

use super::{Resource, Undo};

/// One line for people: what taking it off with this undo data does.
pub(super) fn removal(resource: &Resource, made: &Undo) -> String {
    let what = thing(resource);
    if *made == Undo::Nothing {
        return format!("leave {what}, which was there before");
    }
    match (resource, made) {
        (Resource::NixTree(tree), _) if tree.keep => {
            "leave /nix with its store and database".to_owned()
        }
        (Resource::NixTree(_), Undo::Created) => "remove /nix and all that is in it".to_owned(),
        (Resource::NixTree(_), _) => "remove all that came into /nix".to_owned(),
        (Resource::File(_) | Resource::Tmpfiles(_), Undo::File(_)) => {
            format!("put back what was in the place of {what}")
        }
        (Resource::Directory(_), Undo::File(_)) => format!("put back mode and owner of {what}"),
        (Resource::Directory(_), _) => format!("remove {what}, when it is empty"),
        (Resource::Block(it), _) => format!("take our lines out of {}", it.path.display()),
        (Resource::NixConf(_), _) => format!("take {what} out of /etc/nix/nix.conf"),
        (Resource::Profile(it), _) => {
            format!("take Nix out of the profile {}", it.link.display())
        }
        (Resource::Registration(_), _) => "take the release out of Nix's database".to_owned(),
        (Resource::Service(it), _) => format!("stop and disable {}", it.units().join(", ")),
        _ => format!("remove {what}"),
    }
}

/// The thing itself.
pub(super) fn thing(resource: &Resource) -> String {
    match resource {
        Resource::Directory(it) => format!("the directory {}", it.path.display()),
        Resource::File(it) => format!("the file {}", it.path.display()),
        Resource::Tmpfiles(it) => format!("the file {}", it.path.display()),
        Resource::Block(it) => format!("the block in {}", it.path.display()),
        Resource::Group(it) => format!("the group {}", it.name),
        Resource::BuildUsers(it) => format!("{} build users and the group {}", it.count, it.group),
        Resource::NixTree(_) => "/nix".to_owned(),
        Resource::Payload(it) => format!("the paths of Nix {} from /nix/store", it.archive.version),
        Resource::Registration(_) => "the release in Nix's database".to_owned(),
        Resource::Profile(it) => format!("the profile {}", it.link.display()),
        Resource::NixConf(_) => "our settings".to_owned(),
        Resource::Service(it) => format!("the units {}", it.units().join(", ")),
        Resource::Selinux(it) => format!("the SELinux policy module {}", it.module),
        Resource::Program(it) => format!("the program {}", it.path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::block::Block;
    use super::super::directory::Directory;
    use super::super::file::SavedFile;
    use super::super::group::Group;
    use super::super::nix_tree::NixTree;
    use super::super::service::Service;
    use super::*;

    #[test]
    fn lists_read_as_a_person_would_say_it() {
        let directory = || {
            Resource::Directory(Directory {
                path: "/etc/nix".into(),
                mode: 0o755,
                uid: 0,
                gid: 0,
                lenient: true,
            })
        };
        let (mode, uid, gid) = (0o700, 0, 0);
        let rights = Undo::File(SavedFile::Directory { mode, uid, gid });
        let tree = |keep| Resource::NixTree(NixTree { store_gid: 0, keep });
        let group = Resource::Group(Group {
            name: "nixctl".to_owned(),
        });
        let block = Resource::Block(Block {
            path: "/etc/bashrc".into(),
            text: String::new(),
            create: false,
        });
        let service = Resource::Service(Service {
            enable: vec!["a.socket".to_owned(), "a.service".to_owned()],
            start: vec!["a.socket".to_owned()],
            also_stop: Vec::new(),
        });
        for (resource, made, expected) in [
            (
                directory(),
                Undo::Created,
                "remove the directory /etc/nix, when it is empty",
            ),
            (
                directory(),
                Undo::Nothing,
                "leave the directory /etc/nix, which was there before",
            ),
            (
                directory(),
                rights,
                "put back mode and owner of the directory /etc/nix",
            ),
            (
                tree(true),
                Undo::Created,
                "leave /nix with its store and database",
            ),
            (
                tree(false),
                Undo::Created,
                "remove /nix and all that is in it",
            ),
            (
                tree(false),
                Undo::Entries(Vec::new()),
                "remove all that came into /nix",
            ),
            (group, Undo::Created, "remove the group nixctl"),
            (block, Undo::Created, "take our lines out of /etc/bashrc"),
            (
                service,
                Undo::Created,
                "stop and disable a.socket, a.service",
            ),
        ] {
            assert_eq!(removal(&resource, &made), expected);
        }
    }
}
