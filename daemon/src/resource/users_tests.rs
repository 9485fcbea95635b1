use super::super::Resource;
use super::super::testing::{Machine, check_laws, make, undone};
use super::*;
use crate::host::Output;
use crate::host::fake::Answer;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n";
const GROUP: &str = "root:x:0:\n";

pub(crate) fn users() -> Resource {
    Resource::BuildUsers(BuildUsers {
        group: "nixbld".into(),
        gid: 30_000,
        prefix: "nixbld".into(),
        count: 3,
        uid_base: 30_000,
    })
}

fn machine(passwd: &str, group: &str) -> Machine {
    let machine = Machine::new();
    machine.put("/etc/passwd", format!("{PASSWD}{passwd}"));
    machine.put("/etc/group", format!("{GROUP}{group}"));
    machine
}

/// Real tools where there are some: they edit the image's files.
fn with_real_tools(machine: &mut Machine, tools: &[&'static str]) -> bool {
    let real = crate::host::exec::SystemExec;
    let there = |program: &&str| crate::host::Exec::find(&real, program).is_some();
    if !nix::unistd::geteuid().is_root() || !tools.iter().all(there) {
        return false;
    }
    #[derive(Debug)]
    struct Only(Vec<&'static str>);
    impl crate::host::Exec for Only {
        fn output(
            &self,
            command: &crate::host::Command,
            cancel: &crate::host::Cancel,
        ) -> std::result::Result<Output, ExecError> {
            crate::host::exec::SystemExec.output(command, cancel)
        }
        fn find(&self, program: &str) -> Option<std::path::PathBuf> {
            self.0.contains(&program).then(|| program.into())
        }
    }
    machine.host.exec = std::sync::Arc::new(Only(tools.to_vec()));
    true
}

fn lines(machine: &Machine, path: &str) -> Vec<String> {
    let mut lines: Vec<String> = machine
        .text(path)
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

#[test]
fn real_tools_make_and_remove_them() {
    for tools in [
        &["systemd-sysusers", "userdel", "groupdel", "gpasswd"][..],
        &[
            "groupadd", "useradd", "usermod", "userdel", "groupdel", "gpasswd",
        ][..],
    ] {
        let mut machine = machine("nixbld2:x:77:100::/home/x:/bin/sh\n", "users:x:100:\n");
        if !with_real_tools(&mut machine, tools) {
            continue;
        }
        machine.put("/sbin/nologin", "");
        machine.put("/etc/login.defs", "SYS_UID_MAX 999\n");
        let before = (
            lines(&machine, "/etc/passwd"),
            lines(&machine, "/etc/group"),
        );
        assert!(matches!(
            users().probe(&machine.host).unwrap(),
            Presence::Drifted(_)
        ));
        let undo = make(&machine, &users()).unwrap();
        assert_eq!(
            users().probe(&machine.host).unwrap(),
            Presence::Present,
            "{tools:?}"
        );
        let made = machine.text("/etc/passwd").unwrap();
        let line = made
            .lines()
            .find(|line| line.starts_with("nixbld3:"))
            .unwrap();
        assert!(
            line.ends_with(":30003:30000:Nix build user 3:/var/empty:/sbin/nologin"),
            "{line}"
        );
        assert!(
            made.contains("nixbld2:x:77:100"),
            "an existing user is adopted as it is"
        );
        assert!(machine.notes.0.lock().unwrap()[0].starts_with("made 2 build users with"));
        users().apply(&machine.context(), &undo).unwrap();
        if machine.text("/etc/gshadow").is_some() || tools.contains(&"useradd") {
            // gpasswd works in a chroot, which this image is too small for.
            let Undo::Users(made) = &undo else {
                panic!("{undo:?}")
            };
            let undo = Undo::Users(UsersUndo {
                members: vec![],
                ..made.clone()
            });
            let kept = undone(&machine, &users(), &undo);
            assert!(kept.is_some_and(|text| text.contains("nixbld2")));
            let mut after = lines(&machine, "/etc/passwd");
            after.retain(|line| !line.is_empty());
            assert_eq!(after, before.0);
        }
    }
}

/// A machine on which the tools are a script that edits the files as sysusers does.
pub(crate) fn with_fake_tools(machine: &Machine) {
    let root = machine.dir.path().to_owned();
    let path = root.clone();
    machine.exec.answer(
        "systemd-sysusers",
        &[],
        Answer::effect(move |command| {
            let edit = |file: &str, change: &dyn Fn(String) -> String| {
                let at = path.join(file);
                std::fs::write(&at, change(std::fs::read_to_string(&at).unwrap())).unwrap();
            };
            for line in String::from_utf8_lossy(&command.stdin).lines() {
                let words: Vec<&str> = line.split(' ').collect();
                match words[0] {
                    "g" => edit("etc/group", &|text| {
                        let there = text.contains(&format!("{}:", words[1]));
                        if there {
                            text
                        } else {
                            format!("{text}{}:x:{}:\n", words[1], words[2])
                        }
                    }),
                    "u" => edit("etc/passwd", &|text| {
                        if text.contains(&format!("{}:", words[1])) {
                            return text;
                        }
                        format!(
                            "{text}{}:x:{}::/var/empty:/sbin/nologin\n",
                            words[1], words[2]
                        )
                    }),
                    _ => edit("etc/group", &|text| {
                        let line = text
                            .lines()
                            .find(|l| l.starts_with(&format!("{}:", words[2])));
                        let line = line.unwrap();
                        let comma = if line.ends_with(':') { "" } else { "," };
                        text.replace(line, &format!("{line}{comma}{}", words[1]))
                    }),
                }
            }
            Output::default()
        }),
    );
    let path = root.clone();
    machine.exec.answer(
        "userdel",
        &[],
        Answer::effect(move |command| {
            let name = command.args.last().unwrap();
            for file in ["etc/passwd", "etc/group"] {
                let at = path.join(file);
                let text = std::fs::read_to_string(&at).unwrap();
                let kept: String = text
                    .lines()
                    .filter(|line| !line.starts_with(&format!("{name}:")))
                    .map(|line| {
                        line.replace(&format!(",{name}"), "")
                            .replace(&format!(":{name},"), ":")
                    })
                    .map(|line| {
                        line.strip_suffix(&format!(":{name}"))
                            .map_or(line.clone(), |l| format!("{l}:"))
                    })
                    .map(|line| line + "\n")
                    .collect();
                std::fs::write(&at, kept).unwrap();
            }
            Output::default()
        }),
    );
    machine.exec.answer(
        "groupdel",
        &[],
        Answer::effect(move |command| {
            let at = root.join("etc/group");
            let text = std::fs::read_to_string(&at).unwrap();
            let name = format!("{}:", command.args.last().unwrap());
            let kept: String = text
                .lines()
                .filter(|l| !l.starts_with(&name))
                .map(|l| format!("{l}\n"))
                .collect();
            std::fs::write(&at, kept).unwrap();
            Output::default()
        }),
    );
}

#[test]
fn the_laws_hold() {
    let machine = machine("", "");
    with_fake_tools(&machine);
    check_laws(&machine, &users());
}

#[test]
fn right_ones_are_adopted_and_never_removed() {
    let machine = machine(
        "nixbld1:x:1:5::/:/x\nnixbld2:x:2:5::/:/x\nnixbld3:x:3:5::/:/x\n",
        "nixbld:x:5:nixbld1,nixbld2,nixbld3\n",
    );
    with_fake_tools(&machine);
    assert_eq!(users().probe(&machine.host).unwrap(), Presence::Present);
    let before = machine.state();
    let undo = make(&machine, &users()).unwrap();
    assert_eq!(undo, Undo::Nothing);
    assert_eq!(undone(&machine, &users(), &undo), None);
    assert_eq!(machine.state(), before);
    assert!(machine.exec.calls().is_empty());
}

#[test]
fn a_cut_attempt_is_completed_and_undone_whole() {
    let machine = machine("", "");
    with_fake_tools(&machine);
    let before = machine.state();
    let undo = users().prepare(&machine.host).unwrap();
    machine.put("/etc/group", format!("{GROUP}nixbld:x:30000:nixbld1\n"));
    machine.put(
        "/etc/passwd",
        format!("{PASSWD}nixbld1:x:30001:30000::/:/x\n"),
    );
    users().apply(&machine.context(), &undo).unwrap();
    assert_eq!(users().probe(&machine.host).unwrap(), Presence::Present);
    assert_eq!(undone(&machine, &users(), &undo), None);
    assert_eq!(machine.state(), before);
}

#[test]
fn a_group_that_others_joined_stays() {
    let machine = machine("", "");
    with_fake_tools(&machine);
    let undo = make(&machine, &users()).unwrap();
    let group = machine.text("/etc/group").unwrap();
    machine.put("/etc/group", group.replace("nixbld3", "nixbld3,somebody"));
    let kept = undone(&machine, &users(), &undo).unwrap();
    assert!(kept.contains("somebody"), "{kept}");
    assert!(
        machine
            .text("/etc/group")
            .unwrap()
            .contains("nixbld:x:30000:somebody")
    );
}

#[test]
fn a_held_lock_is_waited_for() {
    let machine = machine("", "");
    with_fake_tools(&machine);
    let undo = make(&machine, &users()).unwrap();
    machine.exec.answer(
        "userdel",
        &[],
        Answer::code(1, "userdel: cannot lock /etc/passwd; try again later."),
    );
    let started = Instant::now();
    assert!(users().undo(&machine.context(), &undo).is_err());
    assert!(started.elapsed() >= PAUSE);
    machine.exec.forget();
    machine
        .exec
        .answer("userdel", &[], Answer::code(1, "userdel: no such thing"));
    assert!(users().undo(&machine.context(), &undo).is_err());
    let calls = machine.exec.lines();
    assert_eq!(calls.len(), 1, "{calls:?}");
}
