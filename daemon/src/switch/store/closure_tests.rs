//! Closures from a Nix that is answered from a script.

use std::collections::BTreeSet;

use super::*;
use crate::host::cancel::Stop;
use crate::host::fake::Answer as Scripted;
use crate::host::{Command, Output};
use crate::resource::testing::Machine;
use crate::switch::StoreUrl;

fn path(n: usize) -> StorePath {
    StorePath::from_base_name(&format!("{n:032}-p{n}")).unwrap()
}

fn nix() -> StorePath {
    StorePath::from_base_name("0123456789abcdfghijklmnpqrsvwxyz-nix-2.34.8").unwrap()
}

/// A machine whose Nix knows a chain of paths; an answer with more than `most` paths is cut off.
fn machine(length: usize, most: usize, numbered: bool) -> Machine {
    let machine = Machine::new();
    // An image without /proc, so that commands run in it through the daemon's own program.
    machine.exec.answer(
        "/proc/self/exe",
        &[],
        Scripted::effect(move |command| answer(command, length, most, numbered)),
    );
    machine
}

fn answer(command: &Command, length: usize, most: usize, numbered: bool) -> Output {
    let text = |stdout: String| Output {
        stdout: stdout.into_bytes(),
        ..Output::default()
    };
    let fail = |stderr: &str| Output {
        code: 1,
        stderr: stderr.into(),
        ..Output::default()
    };
    if command.args.iter().any(|arg| arg == "--recursive") {
        return text((0..length).map(|n| format!("{}\n", path(n))).collect());
    }
    if command.args.iter().any(|arg| arg == "--json-format") && !numbered {
        return fail("error: unrecognised flag '--json-format'");
    }
    let asked = String::from_utf8(command.stdin.clone()).unwrap();
    if asked.lines().count() > most {
        return Output {
            stdout: vec![b' '; STDOUT_LIMIT],
            ..Output::default()
        };
    }
    let entries: Vec<String> = asked
        .lines()
        .map(|line| {
            let n: usize = line.rsplit_once("-p").unwrap().1.parse().unwrap();
            if n + 1 == length {
                return format!("\"{line}\":{{\"narSize\":{n},\"references\":[]}}");
            }
            let next = path(n + 1);
            format!("\"{line}\":{{\"narSize\":{n},\"references\":[\"{next}\"]}}")
        })
        .collect();
    text(format!("{{{}}}", entries.join(",")))
}

fn read(machine: &Machine, graph: &mut Graph, from: &Source) -> Result<(), ReadError> {
    ClosureReader::new(&machine.host, &nix(), &machine.cancel).read(graph, from, &[path(0)])
}

#[test]
fn a_closure_is_read_in_batches() {
    for (numbered, commands) in [(true, 4), (false, 5)] {
        let machine = machine(9000, BATCH, numbered);
        let mut graph = Graph::new();
        read(&machine, &mut graph, &Source::Local).unwrap();
        let closure = graph.closure_of([&path(0)]).unwrap();
        assert_eq!(closure.len(), 9000);
        assert_eq!(graph.size(&closure), 9000 * 8999 / 2);
        assert_eq!(machine.exec.calls().len(), commands);
    }
}

#[test]
fn an_answer_that_is_cut_off_is_asked_for_in_halves() {
    let machine = machine(5000, 900, true);
    let mut graph = Graph::new();
    read(&machine, &mut graph, &Source::Local).unwrap();
    assert_eq!(graph.closure_of([&path(0)]).unwrap().len(), 5000);
    let machine = self::machine(3, 0, true);
    let error = read(&machine, &mut Graph::new(), &Source::Local).unwrap_err();
    assert!(error.to_string().contains("too large"), "{error}");
}

#[test]
fn what_is_known_is_not_asked_for() {
    let machine = machine(10, BATCH, true);
    let mut graph = Graph::new();
    read(&machine, &mut graph, &Source::Local).unwrap();
    machine.exec.forget();
    let cache = Source::Cache(StoreUrl::new("https://cache.example.org").unwrap());
    read(&machine, &mut graph, &cache).unwrap();
    assert_eq!(machine.exec.calls().len(), 0);
}

#[test]
fn the_questions_as_nix_gets_them() {
    let machine = machine(2, BATCH, true);
    read(&machine, &mut Graph::new(), &Source::Local).unwrap();
    let cache = Source::Cache(StoreUrl::new("file:///srv/cache").unwrap());
    read(&machine, &mut Graph::new(), &cache).unwrap();
    let program = format!("{}/bin/nix", nix());
    let prefix = "--extra-experimental-features nix-command path-info";
    let patience = "--option connect-timeout 10 --option stalled-download-timeout 20 \
                    --option download-attempts 2";
    let lines: Vec<String> = machine
        .exec
        .lines()
        .iter()
        .map(|line| {
            let (_, args) = line.split_once(&program).unwrap();
            let args = args.trim().strip_prefix(prefix).unwrap().trim();
            args.replace(patience, "PATIENCE")
        })
        .collect();
    let alone = "--store file:///srv/cache --option substituters  PATIENCE";
    assert_eq!(
        lines,
        [
            format!("--offline --recursive {}", path(0)),
            "--offline --json --stdin --json-format 1".to_owned(),
            format!("{alone} --recursive {}", path(0)),
            format!("{alone} --json --stdin --json-format 1"),
        ]
    );
    let homes: BTreeSet<String> = machine
        .exec
        .calls()
        .iter()
        .filter_map(|call| {
            call.env
                .iter()
                .rev()
                .find(|(name, _)| name == "HOME")
                .cloned()
        })
        .map(|(_, home)| home)
        .collect();
    // One for each reader, and none of them is left.
    assert_eq!(homes.len(), 2);
    let process = format!("/run/nixctl/ask-{}-", std::process::id());
    for home in homes {
        assert!(home.starts_with(&process), "{home}");
        assert!(!machine.path(&home).exists(), "{home}");
    }
    let ssh = Source::Cache(StoreUrl::new("ssh://host").unwrap());
    read(&machine, &mut Graph::new(), &ssh).unwrap();
    let calls = machine.exec.calls();
    let env = &calls.last().unwrap().env;
    let batch =
        |(name, value): &(String, String)| name == "NIX_SSHOPTS" && value.contains("BatchMode=yes");
    assert!(env.iter().any(batch), "{env:?}");
}

#[test]
fn failures_name_the_source() {
    let said = |answer: Scripted| {
        let machine = machine(3, BATCH, true);
        machine.exec.answer("/proc/self/exe", &[], answer);
        read(&machine, &mut Graph::new(), &Source::Local)
            .unwrap_err()
            .to_string()
    };
    let text = said(Scripted::code(1, "error: path 'x' is not valid"));
    assert!(
        text.contains("the store") && text.contains("not valid"),
        "{text}"
    );
    assert!(said(Scripted::Hang).contains("did not end"));
    assert!(said(Scripted::text("/etc/passwd")).contains("/etc/passwd"));
    let missing = Scripted::effect(|command| {
        let stdout = if command.stdin.is_empty() {
            path(7).to_string()
        } else {
            format!("{{\"{}\":null}}", path(7))
        };
        Output {
            stdout: stdout.into_bytes(),
            ..Output::default()
        }
    });
    let text = said(missing);
    assert!(
        text.contains(&format!("does not have {}", path(7))),
        "{text}"
    );
}

#[test]
fn it_stops_when_asked_and_at_its_deadline() {
    let machine = machine(3, BATCH, true);
    machine.cancel.request(Stop::Cancelled);
    let error = read(&machine, &mut Graph::new(), &Source::Local).unwrap_err();
    assert!(matches!(
        error,
        ReadError::Exec {
            source: ExecError::Stopped { .. },
            ..
        }
    ));
    let machine = self::machine(3, BATCH, true);
    let nix = nix();
    let reader = ClosureReader::new(&machine.host, &nix, &machine.cancel).deadline(Duration::ZERO);
    // The fake does not wait; the real one would end the first command at once.
    reader
        .read(&mut Graph::new(), &Source::Local, &[path(0)])
        .unwrap();
    let calls = machine.exec.calls();
    assert_eq!(calls.len(), 2);
    assert!(calls.iter().all(|call| call.deadline == Duration::ZERO));
}

#[test]
fn an_old_nix_is_not_asked_what_it_does_not_understand() {
    for (name, format) in [
        ("nix-2.26.3", Format::Unnumbered),
        ("nix-2.32.1pre2025", Format::Unnumbered),
        ("nix-1.11", Format::Unnumbered),
        ("nix-2.33.0", Format::Numbered),
        ("nix-2.34.8", Format::Numbered),
        ("nix-3.0", Format::Numbered),
        ("lix-2.26", Format::Numbered),
        ("nix", Format::Numbered),
    ] {
        let nix = StorePath::from_base_name(&format!("{}-{name}", "0".repeat(32))).unwrap();
        assert_eq!(Format::of(&nix), format, "{name}");
    }
}

/// What a layered graph of so many paths looks like to Nix: each refers to ten before it.
fn large(command: &Command, count: usize) -> Output {
    let name = |n: usize| format!("/nix/store/{n:032}-package-with-a-name-{n}-1.2.3");
    let stdout = if command.args.iter().any(|arg| arg == "--recursive") {
        (0..count).map(|n| name(n) + "\n").collect()
    } else {
        let asked = String::from_utf8(command.stdin.clone()).unwrap();
        let entry = |line: &str| {
            let n: usize = line[11..43].parse().unwrap();
            let before = (1..=10).filter_map(|step| n.checked_sub(step * step));
            let references: Vec<String> = before.map(|n| format!("\"{}\"", name(n))).collect();
            format!(
                "\"{line}\":{{\"ca\":null,\"deriver\":\"{line}.drv\",\"downloadSize\":{n},\
                 \"narHash\":\"sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\",\"narSize\":{n},\
                 \"references\":[{}],\"registrationTime\":1,\"signatures\":[\"cache.nixos.org-1:{}\"],\
                 \"url\":\"nar/{}.nar.xz\"}}",
                references.join(","),
                "s".repeat(88),
                "u".repeat(52),
            )
        };
        let entries: Vec<String> = asked.lines().map(entry).collect();
        format!("{{{}}}", entries.join(","))
    };
    Output {
        stdout: stdout.into_bytes(),
        ..Output::default()
    }
}

fn most_resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

/// Seconds of the processor that this thread had.
fn busy() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

/// Bounds for a build without optimisation; the figures are printed.
#[test]
fn a_hundred_thousand_paths_are_quick() {
    use std::sync::atomic::{AtomicU64, Ordering};
    const COUNT: usize = 100_000;
    static ANSWERING: AtomicU64 = AtomicU64::new(0);
    let machine = Machine::new();
    let answer = Scripted::effect(|command| {
        let began = busy();
        let output = large(command, COUNT);
        let took = u64::try_from((busy() - began).as_micros()).unwrap();
        ANSWERING.fetch_add(took, Ordering::Relaxed);
        output
    });
    machine.exec.answer("/proc/self/exe", &[], answer);
    let mut graph = Graph::new();
    let (before, began) = (most_resident(), busy());
    let root = format!("/nix/store/{:032}-package-with-a-name-0-1.2.3", 0);
    ClosureReader::new(&machine.host, &nix(), &machine.cancel)
        .read(
            &mut graph,
            &Source::Local,
            &[StorePath::new(&root).unwrap()],
        )
        .unwrap();
    let answering = Duration::from_micros(ANSWERING.load(Ordering::Relaxed));
    let took = (busy() - began).saturating_sub(answering);
    let more = (most_resident() - before) / 1024;
    let paths = graph.len();
    let size = machine.exec.calls().len();
    println!("{paths} paths in {took:?} and {more} MiB, {size} questions");
    assert_eq!(graph.len(), COUNT);
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(more < 200, "{more} MiB");
}
