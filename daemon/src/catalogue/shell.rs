//! How shells find Nix: our two hook scripts, and blocks in the shells' own start-up files.
//!
//! A start-up file that is a link belongs to somebody else (nix-darwin, NixOS, a dotfile manager
//! for /etc) and is left alone, with a note. Which files exist differs by distribution:
//!
//! | file | read by |
//! |---|---|
//! | /etc/profile.d/nix.sh | login shells: sh, bash |
//! | /etc/bash.bashrc | interactive bash of Debian and Arch |
//! | /etc/bash.bashrc.local | the same on SUSE, whose own file sets PATH anew |
//! | /etc/bashrc | interactive bash of Fedora |
//! | /etc/zsh/zshrc, /etc/zshrc | interactive zsh |
//! | /etc/zsh/zprofile | login zsh that is not interactive (`zsh -lc`) |
//! | /etc/fish/conf.d/nix.fish | every fish |

use std::path::{Path, PathBuf};

use super::facts::{Facts, RcFile, RcState};
use super::files::{BLOCK_FISH, BLOCK_SH, HOOK_FISH, HOOK_SH, Shipped, own_part};
use super::steps::{directory, shipped};
use crate::engine::Step;
use crate::resource::Resource;
use crate::resource::block::Block;

/// Hook scripts and blocks, parents first.
pub fn steps(facts: &Facts) -> Vec<Step> {
    let mut steps = vec![shipped(HOOK_SH, 0o644)];
    if facts.fish_dir {
        steps.push(shipped(HOOK_FISH, 0o644));
    }
    let files: Vec<&RcFile> = wanted(facts).filter(|rc| !is_link(rc)).collect();
    for rc in files {
        if let RcState::Absent { parent: false } = rc.state
            && let Some(parent) = rc.path.parent()
        {
            steps.push(directory(parent, 0o755));
        }
        steps.push(Step::Ensure(Resource::Block(block(rc))));
    }
    steps
}

/// Start-up files that were left alone because they are links.
pub fn left_alone(facts: &Facts) -> Vec<PathBuf> {
    wanted(facts)
        .filter(|rc| is_link(rc))
        .map(|rc| rc.path.clone())
        .collect()
}

fn is_link(rc: &RcFile) -> bool {
    matches!(rc.state, RcState::Link(_))
}

/// Start-up files that shells of this machine read.
fn wanted(facts: &Facts) -> impl Iterator<Item = &RcFile> {
    facts.rc_files.iter().filter(|rc| is_read(facts, rc))
}

fn is_read(facts: &Facts, rc: &RcFile) -> bool {
    let folder_is_there = !matches!(rc.state, RcState::Absent { parent: false });
    let suse = facts.system.os.is_like("suse") || facts.system.os.is_like("opensuse");
    match rc.path.to_str().unwrap_or_default() {
        "/etc/profile.d/nix.sh" => true,
        "/etc/bash.bashrc" => !suse && (rc.exists() || bash_reads_bash_bashrc(facts)),
        "/etc/bash.bashrc.local" => suse,
        "/etc/bashrc" | "/etc/zshrc" => rc.exists(),
        "/etc/zsh/zshrc" | "/etc/zsh/zprofile" => folder_is_there,
        "/etc/fish/conf.d/nix.fish" => facts.fish_dir,
        _ => false,
    }
}

/// Whether bash was built to read /etc/bash.bashrc although there is none: Debian and Arch.
fn bash_reads_bash_bashrc(facts: &Facts) -> bool {
    let os = &facts.system.os;
    let has_bash = facts.shells.iter().any(|shell| shell == "bash");
    has_bash && (os.is_like("debian") || os.is_like("arch"))
}

fn block(rc: &RcFile) -> Block {
    let file = block_file(&rc.path);
    let theirs = match &rc.state {
        RcState::Regular(text) => super::facts::leftovers::foreign_block(text).is_some(),
        _ => false,
    };
    // A file that has the common block of another installer gets our own part only.
    let text = if theirs { own_part(file) } else { file.content };
    Block {
        path: rc.path.clone(),
        text: text.to_owned(),
        create: true,
    }
}

fn block_file(path: &Path) -> Shipped {
    if path.extension().is_some_and(|ending| ending == "fish") {
        BLOCK_FISH
    } else {
        BLOCK_SH
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::facts::OsRelease;
    use crate::catalogue::files::common_part;

    fn with(mut facts: Facts, path: &str, state: RcState) -> Facts {
        for rc in &mut facts.rc_files {
            if rc.path == Path::new(path) {
                rc.state = state.clone();
            }
        }
        facts
    }

    fn os(id: &str, like: &str) -> Facts {
        let mut facts = Facts::plain_debian();
        let like = like.split_whitespace().map(str::to_owned).collect();
        facts.system.os = OsRelease {
            id: id.to_owned(),
            like,
            ..OsRelease::default()
        };
        with(facts, "/etc/bash.bashrc", RcState::Absent { parent: true })
    }

    fn blocks(facts: &Facts) -> Vec<String> {
        steps(facts)
            .iter()
            .filter_map(|step| match step {
                Step::Ensure(Resource::Block(block)) => Some(block.path.display().to_string()),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn files_differ_by_distribution() {
        let profile = "/etc/profile.d/nix.sh";
        assert_eq!(
            blocks(&Facts::plain_debian()),
            [profile, "/etc/bash.bashrc"]
        );
        assert_eq!(
            blocks(&os("ubuntu", "debian")),
            [profile, "/etc/bash.bashrc"]
        );
        assert_eq!(blocks(&os("alpine", "")), [profile]);
        assert_eq!(
            blocks(&os("opensuse-leap", "suse opensuse")),
            [profile, "/etc/bash.bashrc.local"]
        );
        let fedora = with(
            os("fedora", ""),
            "/etc/bashrc",
            RcState::Regular(String::new()),
        );
        let fedora = with(fedora, "/etc/zshrc", RcState::Regular(String::new()));
        assert_eq!(blocks(&fedora), [profile, "/etc/bashrc", "/etc/zshrc"]);
    }

    #[test]
    fn zsh_and_fish_are_reached_through_their_folders() {
        let facts = with(
            Facts::plain_debian(),
            "/etc/zsh/zshrc",
            RcState::Regular(String::new()),
        );
        let facts = with(facts, "/etc/zsh/zprofile", RcState::Absent { parent: true });
        let facts = Facts {
            fish_dir: true,
            ..facts
        };
        let listed = blocks(&facts);
        assert_eq!(
            listed[2..],
            [
                "/etc/zsh/zshrc",
                "/etc/zsh/zprofile",
                "/etc/fish/conf.d/nix.fish"
            ]
        );
        let all = steps(&facts);
        // The folder of fish's file is made before the file, and its hook is there.
        let at = |wanted: &dyn Fn(&Resource) -> bool| {
            all.iter()
                .position(|step| matches!(step, Step::Ensure(resource) if wanted(resource)))
        };
        let folder =
            at(&|r| matches!(r, Resource::Directory(d) if d.path == Path::new("/etc/fish/conf.d")));
        let file = at(&|r| matches!(r, Resource::Block(b) if b.text == BLOCK_FISH.content));
        assert!(folder.unwrap() < file.unwrap());
        assert!(
            at(&|r| matches!(r, Resource::File(f) if f.path == Path::new(HOOK_FISH.path)))
                .is_some()
        );
    }

    #[test]
    fn links_are_left_alone_and_named() {
        let facts = with(
            Facts::plain_debian(),
            "/etc/bash.bashrc",
            RcState::Link("/elsewhere".into()),
        );
        assert_eq!(blocks(&facts), ["/etc/profile.d/nix.sh"]);
        assert_eq!(left_alone(&facts), [PathBuf::from("/etc/bash.bashrc")]);
        assert_eq!(left_alone(&Facts::plain_debian()), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_file_with_the_common_block_gets_our_part_only() {
        let text = format!("{}rest\n", common_part(BLOCK_SH));
        let facts = with(
            Facts::plain_debian(),
            "/etc/bash.bashrc",
            RcState::Regular(text),
        );
        let texts: Vec<String> = steps(&facts)
            .into_iter()
            .filter_map(|step| match step {
                Step::Ensure(Resource::Block(block)) => Some(block.text),
                _ => None,
            })
            .collect();
        assert_eq!(texts, [BLOCK_SH.content, own_part(BLOCK_SH)]);
    }
}
