//! The programs that make and remove users and groups: systemd-sysusers (all in one go), the shadow tools,
//! or busybox. Which arguments each takes, and how each is pointed at an image.

use std::path::Path;
use std::time::Duration;

use super::users::{Adopted, NewUser};
use super::{ResourceError, Result};
use crate::host::{Command, Host};

/// Time for one program; a directory server may take part.
const DEADLINE: Duration = Duration::from_secs(60);
/// Home of the users; it never exists.
const HOME: &str = "/var/empty";
/// Shells that let nobody in, the first that exists is taken.
const SHELLS: [&str; 6] = [
    "/usr/sbin/nologin",
    "/sbin/nologin",
    "/usr/bin/nologin",
    "/bin/nologin",
    "/usr/bin/false",
    "/bin/false",
];

/// A family of programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tools {
    /// `systemd-sysusers`, which makes but does not remove.
    Sysusers,
    /// `useradd` and its relatives.
    Shadow,
    /// `adduser` and its relatives.
    Busybox,
}

impl Tools {
    /// What this machine has for making users.
    pub fn for_making(host: &Host) -> Result<Tools> {
        let first = [
            (Tools::Sysusers, "systemd-sysusers"),
            (Tools::Shadow, "useradd"),
            (Tools::Busybox, "adduser"),
        ];
        choose(host, &first, "create the build users")
    }

    /// What this machine has for removing users.
    pub fn for_removing(host: &Host) -> Result<Tools> {
        let first = [(Tools::Shadow, "userdel"), (Tools::Busybox, "deluser")];
        choose(host, &first, "remove the build users")
    }

    /// What this machine has for making a group.
    pub fn for_making_group(host: &Host, group: &str) -> Result<Tools> {
        let first = [
            (Tools::Sysusers, "systemd-sysusers"),
            (Tools::Shadow, "groupadd"),
            (Tools::Busybox, "addgroup"),
        ];
        choose(host, &first, &format!("create the group {group}"))
    }

    /// What this machine has for removing a group.
    pub fn for_removing_group(host: &Host, group: &str) -> Result<Tools> {
        let first = [(Tools::Shadow, "groupdel"), (Tools::Busybox, "delgroup")];
        choose(host, &first, &format!("remove the group {group}"))
    }

    /// The program that does the main work.
    pub fn name(self) -> &'static str {
        match self {
            Tools::Sysusers => "systemd-sysusers",
            Tools::Shadow => "useradd",
            Tools::Busybox => "adduser",
        }
    }

    /// Makes the group (name, id, whether it is new), new users as members, and adopted users
    /// members.
    pub fn make(
        self,
        host: &Host,
        (group, gid, new_group): (&str, u32, bool),
        users: &[NewUser],
        adopted: &[Adopted],
    ) -> Vec<Command> {
        let shell = shell(host);
        match self {
            Tools::Sysusers => {
                let lines = sysusers_lines(group, gid, users, adopted, shell);
                vec![sysusers(host, lines)]
            }
            Tools::Shadow => {
                let id = gid.to_string();
                let make_group = new_group
                    .then(|| shadow(host, "groupadd").args(["--system", "--gid", &id, group]));
                let make_users = users
                    .iter()
                    .map(|user| useradd(host, &id, group, shell, user));
                let join = adopted.iter().map(|Adopted { name, .. }| {
                    shadow(host, "usermod").args(["--append", "--groups", group, name])
                });
                make_group
                    .into_iter()
                    .chain(make_users)
                    .chain(join)
                    .collect()
            }
            Tools::Busybox => {
                let id = gid.to_string();
                let make_group =
                    new_group.then(|| busybox(host, "addgroup").args(["-S", "-g", &id, group]));
                let make_users = users.iter().map(|user| adduser(host, group, shell, user));
                let adopted = adopted.iter().map(|it| &it.name);
                let names = users.iter().map(|user| &user.name).chain(adopted);
                let join = names.map(|name| busybox(host, "addgroup").args([name.as_str(), group]));
                make_group
                    .into_iter()
                    .chain(make_users)
                    .chain(join)
                    .collect()
            }
        }
    }

    /// Makes a system group, with an id that the tool chooses.
    pub fn make_group(self, host: &Host, group: &str) -> Command {
        match self {
            Tools::Sysusers => sysusers(host, format!("g {group} -\n")),
            Tools::Shadow => shadow(host, "groupadd").args(["--system", group]),
            Tools::Busybox => busybox(host, "addgroup").args(["-S", group]),
        }
    }

    /// Removes a user, and nothing of its files.
    pub fn remove_user(self, host: &Host, name: &str) -> Command {
        match self {
            Tools::Sysusers | Tools::Shadow => shadow(host, "userdel").arg(name),
            Tools::Busybox => busybox(host, "deluser").arg(name),
        }
    }

    /// Takes a user out of a group.
    pub fn leave(self, host: &Host, name: &str, group: &str) -> Command {
        match self {
            Tools::Sysusers | Tools::Shadow => {
                let root = host.fs.root().display().to_string();
                let image = host.is_image().then_some(["--root".to_owned(), root]);
                command("gpasswd")
                    .args(image.into_iter().flatten())
                    .args(["--delete", name, group])
            }
            Tools::Busybox => busybox(host, "delgroup").args([name, group]),
        }
    }

    /// Removes a group.
    pub fn remove_group(self, host: &Host, group: &str) -> Command {
        match self {
            Tools::Sysusers | Tools::Shadow => shadow(host, "groupdel").arg(group),
            Tools::Busybox => busybox(host, "delgroup").arg(group),
        }
    }
}

fn choose(host: &Host, tools: &[(Tools, &str)], what: &str) -> Result<Tools> {
    let found = tools
        .iter()
        .find(|(_, program)| host.exec.find(program).is_some());
    found
        .map(|(tools, _)| *tools)
        .ok_or_else(|| ResourceError::MissingTool {
            what: what.to_owned(),
            tools: tools
                .iter()
                .map(|(_, program)| *program)
                .collect::<Vec<_>>()
                .join(", "),
        })
}

/// Lines of sysusers.d: `g` makes a group, `u` a user, `m` a member. What exists is left alone.
fn sysusers_lines(
    group: &str,
    gid: u32,
    users: &[NewUser],
    adopted: &[Adopted],
    shell: &str,
) -> String {
    let mut lines = format!("g {group} {gid}\n");
    for NewUser { name, uid, number } in users {
        lines += &format!("u {name} {uid}:{gid} \"Nix build user {number}\" {HOME} {shell}\n");
        lines += &format!("m {name} {group}\n");
    }
    for Adopted { name, uid, gid } in adopted {
        // Of a user that is only named as a member, sysusers would make a group of the same name.
        lines += &format!("u {name} {uid}:{gid}\n");
        lines += &format!("m {name} {group}\n");
    }
    lines
}

fn useradd(host: &Host, gid: &str, group: &str, shell: &str, user: &NewUser) -> Command {
    shadow(host, "useradd")
        .args([
            "--system",
            "--no-create-home",
            "--no-user-group",
            "--home-dir",
            HOME,
        ])
        .args([
            "--comment",
            &format!("Nix build user {}", user.number),
            "--shell",
            shell,
        ])
        .args(["--gid", gid, "--groups", group, "--password", "!"])
        .args(["--uid", &user.uid.to_string(), &user.name])
}

fn adduser(host: &Host, group: &str, shell: &str, user: &NewUser) -> Command {
    busybox(host, "adduser")
        .args(["-S", "-D", "-H", "-h", HOME])
        .args([
            "-g",
            &format!("Nix build user {}", user.number),
            "-s",
            shell,
        ])
        .args(["-G", group, "-u", &user.uid.to_string(), &user.name])
}

fn command(program: &str) -> Command {
    Command::new(program).deadline(DEADLINE)
}

fn sysusers(host: &Host, lines: String) -> Command {
    let root = host
        .is_image()
        .then(|| format!("--root={}", host.fs.root().display()));
    command("systemd-sysusers").args(root).arg("-").stdin(lines)
}

/// The shadow tools edit the files of an image from outside.
fn shadow(host: &Host, program: &str) -> Command {
    let root = host.fs.root().display().to_string();
    let image = host.is_image().then_some(["--prefix".to_owned(), root]);
    command(program).args(image.into_iter().flatten())
}

/// Busybox must be run inside of it.
fn busybox(host: &Host, program: &str) -> Command {
    if !host.is_image() {
        return command(program);
    }
    command("chroot")
        .arg(host.fs.root().display().to_string())
        .arg(program)
}

fn shell(host: &Host) -> &'static str {
    let exists = |path: &&str| {
        host.fs
            .meta(Path::new(path))
            .is_ok_and(|meta| meta.is_some())
    };
    SHELLS
        .into_iter()
        .find(|path| exists(path))
        .unwrap_or("/sbin/nologin")
}

#[cfg(test)]
mod tests {
    use super::super::testing::Machine;
    use super::*;

    fn users() -> Vec<NewUser> {
        vec![NewUser {
            name: "nixbld1".into(),
            uid: 30_001,
            number: 1,
        }]
    }

    fn old() -> Adopted {
        Adopted {
            name: "old".to_owned(),
            uid: 7,
            gid: 8,
        }
    }

    fn lines(tools: Tools, host: &Host) -> Vec<String> {
        let adopted = [old()];
        let commands = tools.make(host, ("nixbld", 30_000, true), &users(), &adopted);
        commands.iter().map(Command::line).collect()
    }

    #[test]
    fn a_running_machine_and_an_image_differ_only_in_where() {
        let machine = Machine::new();
        machine.put("/sbin/nologin", "");
        let root = machine.dir.path().display().to_string();
        let image = &machine.host;
        let mut running = machine.host.clone();
        running.fs = crate::host::Fs::at("/");
        assert_eq!(
            lines(Tools::Sysusers, image),
            [format!("systemd-sysusers --root={root} -")]
        );
        assert_eq!(lines(Tools::Sysusers, &running), ["systemd-sysusers -"]);
        let made = lines(Tools::Shadow, image);
        assert_eq!(
            made[0],
            format!("groupadd --prefix {root} --system --gid 30000 nixbld")
        );
        assert!(made[1].contains("--shell /sbin/nologin --gid 30000 --groups nixbld"));
        assert!(made[1].ends_with("--uid 30001 nixbld1"));
        assert_eq!(
            made[2],
            format!("usermod --prefix {root} --append --groups nixbld old")
        );
        let made = lines(Tools::Busybox, &running);
        assert_eq!(made[0], "addgroup -S -g 30000 nixbld");
        assert!(made[1].starts_with("adduser -S -D -H"));
        assert_eq!(
            made[2..],
            ["addgroup nixbld1 nixbld", "addgroup old nixbld"]
        );
        assert!(lines(Tools::Busybox, image)[0].starts_with(&format!("chroot {root} addgroup")));
    }

    #[test]
    fn sysusers_reads_what_it_understands() {
        let text = sysusers_lines("nixbld", 7, &users(), &[old()], "/sbin/nologin");
        assert_eq!(
            text,
            "g nixbld 7\nu nixbld1 30001:7 \"Nix build user 1\" /var/empty /sbin/nologin\n\
             m nixbld1 nixbld\nu old 7:8\nm old nixbld\n"
        );
    }

    #[test]
    fn a_machine_without_tools_says_which_it_lacks() {
        let machine = Machine::new();
        let error = Tools::for_making(&machine.host).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("systemd-sysusers, useradd, adduser"),
            "{error}"
        );
        machine.exec.install("adduser");
        assert_eq!(Tools::for_making(&machine.host).unwrap(), Tools::Busybox);
        machine.exec.install("useradd");
        assert_eq!(Tools::for_making(&machine.host).unwrap(), Tools::Shadow);
        machine.exec.install("systemd-sysusers");
        assert_eq!(Tools::for_making(&machine.host).unwrap(), Tools::Sysusers);
    }
}
