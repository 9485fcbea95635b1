//! The shape of a NixOS generation: what lies in its toplevel and how /etc is made up.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::compose::{Composer, Node};
use super::parts::{self, FEW_TOOLS, LINKS, MASKED, Part, SYSTEM, TOOLS};
use super::spec::{Base, Spec, Tweak};
use crate::error::{Context, Result};

/// Bytes of the pretended kernel and initial RAM disk.
const KERNEL: usize = 512 << 10;
const INITRD: usize = 1 << 20;
/// Programs that a generation's scripts take from the machine's Debian: systemd's, since the lab
/// never replaces process 1, and what Debian's busybox lacks. The store path only points there.
const SYSTEMD: [&str; 5] = [
    "bin/flock",
    "bin/systemctl",
    "bin/journalctl",
    "bin/systemd-tmpfiles",
    "lib/systemd/systemd",
];

type Nodes = BTreeMap<String, Node>;

/// Makes all paths of a generation that are not packages; returns the toplevel.
///
/// `packages` are the store paths of the base, whose files lie below `root`.
pub fn compose(
    composer: &mut Composer,
    spec: &Spec,
    packages: &BTreeMap<String, String>,
    root: &Path,
) -> Result<String> {
    let label = format!("lab-{}", spec.name);
    let version = format!("1.{}", u8::from(spec.base == Base::New));
    composer.name("generation", &spec.name);
    composer.name("label", &label);
    composer.name("version", &version);
    settings(composer, spec);

    let links = SYSTEMD.map(|program| link(program, &format!("/usr/{program}")));
    let systemd = composer.tree("systemd-257", &links.into())?;
    composer.name("systemd", &systemd);
    let mut parts: Vec<Part> = spec.services.iter().map(|&one| parts::part(one)).collect();
    parts.push(SYSTEM);

    let etc = etc(composer, spec, &parts)?;
    composer.name("etc", &etc);
    let entries = Node::Script(parts::BOOT_ENTRIES.to_owned());
    let entries = composer.file("install-boot-entries", entries)?;
    composer.name("install-boot-entries", &entries);
    let kernel = blob(composer, spec, "bzImage", "linux-6.12", KERNEL)?;
    let initrd = blob(composer, spec, "initrd", "initrd-linux-6.12", INITRD)?;
    let sw = software(composer, spec, packages, root)?;

    let nodes = [
        link("etc", &format!("{etc}/etc")),
        link("sw", &sw),
        link("systemd", &systemd),
        link("kernel", &kernel),
        link("initrd", &initrd),
        script("activate", parts::ACTIVATE),
        script("init", parts::INIT),
        script("bin/switch-to-configuration", parts::SWITCH),
        text("users", &users(&parts)),
        text("kernel-params", "console=ttyS0 loglevel=4"),
        text("nixos-version", &format!("{version}.{label}")),
        text("system", &format!("{}-linux", std::env::consts::ARCH)),
        text("init-interface-version", init_interface(spec)),
        text("switch-inhibitors", inhibitors(spec)),
        text("boot.json", &boot_json(&label, &kernel, &initrd)),
    ];
    composer.tree(&format!("nixos-system-{label}-{version}"), &nodes.into())
}

/// What the tweaks make of the settings in the texts.
fn settings(composer: &mut Composer, spec: &Spec) {
    let has = |tweak: &Tweak| spec.tweaks.contains(tweak);
    let pick = |tweak: Tweak, with: &'static str, without| if has(&tweak) { with } else { without };
    composer.name("loopback", pick(Tweak::NetworkDown, "down", "up"));
    composer.name("memcached-megabytes", pick(Tweak::OneUnit, "65", "64"));
    let port = pick(Tweak::RedisElsewhere, "7379", "6379");
    composer.name("redis-port", pick(Tweak::RedisBroken, "no-number", port));
    let version = format!("grep -q lab-{} /run/booted-system/nixos-version", spec.name);
    let check = format!("ExecStartPre=/bin/sh -c \"! {version}\"");
    let check = if has(&Tweak::SickAtBoot) { &*check } else { "" };
    composer.name("redis-check", check);
    let broken = "broken() {\n    return 3\n}\nsnippet broken";
    composer.name("snippets", pick(Tweak::ActivationFails, broken, ""));
}

fn init_interface(spec: &Spec) -> &'static str {
    match spec.tweaks.contains(&Tweak::InitInterface) {
        true => "systemd 3",
        false => "systemd 2",
    }
}

fn inhibitors(spec: &Spec) -> &'static str {
    match spec.tweaks.contains(&Tweak::Inhibitor) {
        true => "{\n  \"dbus-implementation\": \"broker\"\n}\n",
        false => "{\n  \"dbus-implementation\": \"dbus\"\n}\n",
    }
}

/// The tree of /etc: links to files that are store paths of their own, the units among them.
fn etc(composer: &mut Composer, spec: &Spec, parts: &[Part]) -> Result<String> {
    let mut nodes = Nodes::new();
    for (place, text) in parts.iter().flat_map(|part| part.etc) {
        let name = place.rsplit('/').next().unwrap_or(place);
        let path = composer.file(&format!("etc-{name}"), Node::Text((*text).to_owned()))?;
        composer.name(&format!("etc:{place}"), &path);
        nodes.extend([link(&format!("etc/{place}"), &path)]);
    }
    let units = units(composer, spec, parts)?;
    nodes.extend([link("etc/systemd/system", &units)]);
    composer.tree("etc", &nodes)
}

/// The folder of units: each a link to a store path of its own, as `[Install]` asks for, no more.
fn units(composer: &mut Composer, spec: &Spec, parts: &[Part]) -> Result<String> {
    let trivial = trivial_units(spec);
    let texts = parts.iter().flat_map(|part| part.units);
    let texts = texts.map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    let mut nodes: Nodes = LINKS.map(|(name, to)| link(name, to)).into();
    nodes.extend(MASKED.map(|name| link(name, "/dev/null")));
    for (name, text) in texts.chain(trivial) {
        let flat = name.replace(['/', '@'], "-");
        let file = name.rsplit('/').next().unwrap_or(&name).to_owned();
        let one = Nodes::from([(file.clone(), Node::Text(text.clone()))]);
        let path = composer.tree(&format!("unit-{flat}"), &one)?;
        for target in wanted_by(&text) {
            nodes.extend([link(
                &format!("{target}.wants/{name}"),
                &format!("../{name}"),
            )]);
        }
        nodes.extend([link(&name, &format!("{path}/{file}"))]);
    }
    composer.tree("system-units", &nodes)
}

fn trivial_units(spec: &Spec) -> Vec<(String, String)> {
    let counts = spec.tweaks.iter().find_map(|tweak| match tweak {
        Tweak::TrivialUnits { count, changed } => Some((*count, *changed)),
        _ => None,
    });
    let (count, changed) = counts.unwrap_or_default();
    let comment = match spec.tweaks.contains(&Tweak::Comment) {
        true => "# It means nothing.\n",
        false => "",
    };
    let unit = |number| {
        let mark = if number < changed {
            "changed"
        } else {
            "as it was"
        };
        let text = format!(
            "{comment}[Unit]\nDescription=Trivial unit {number}\n\n[Service]\nType=oneshot\n\
             RemainAfterExit=yes\nExecStart=/bin/true\nEnvironment=MARK=\"{mark}\"\n\n\
             [Install]\nWantedBy=multi-user.target\n"
        );
        (format!("trivial-{number:03}.service"), text)
    };
    (0..count).map(unit).collect()
}

fn wanted_by(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("WantedBy="))
        .flat_map(str::split_whitespace)
        .collect()
}

/// The users of all parts as lines NAME:ID:HOME.
fn users(parts: &[Part]) -> String {
    parts
        .iter()
        .filter_map(|part| part.user)
        .map(|(name, id, home)| format!("{name}:{id}:{home}\n"))
        .collect()
}

/// `sw`: links to all commands of the tools.
fn software(
    composer: &mut Composer,
    spec: &Spec,
    packages: &BTreeMap<String, String>,
    root: &Path,
) -> Result<String> {
    let mut nodes = Nodes::new();
    let tools: &[&str] = match spec.tweaks.contains(&Tweak::FewTools) {
        true => &FEW_TOOLS,
        false => &TOOLS,
    };
    for path in tools.iter().filter_map(|&tool| packages.get(tool)) {
        let inside = root.join(path.trim_start_matches('/'));
        for folder in ["bin", "lib/postgresql/17/bin"] {
            let dir = inside.join(folder);
            if !dir.is_dir() {
                continue;
            }
            for entry in fs::read_dir(&dir).context(|| format!("read {}", dir.display()))? {
                let name = entry.context(|| "read a folder")?.file_name();
                let name = name.to_string_lossy();
                nodes.extend([link(
                    &format!("bin/{name}"),
                    &format!("{path}/{folder}/{name}"),
                )]);
            }
        }
    }
    composer.tree("system-path", &nodes)
}

/// A file of senseless bytes that are the same each time.
fn blob(
    composer: &mut Composer,
    spec: &Spec,
    file: &str,
    package: &str,
    size: usize,
) -> Result<String> {
    let other = match spec.tweaks.contains(&Tweak::OtherKernel) {
        true => "other ",
        false => "",
    };
    let seed = format!("{} {other}{file}", spec.base.name());
    let bytes = (0_u32..)
        .flat_map(|count| Sha256::digest(format!("{seed} {count}")))
        .take(size)
        .collect();
    let nodes = Nodes::from([(file.to_owned(), Node::Bytes(bytes))]);
    let path = composer.tree(package, &nodes)?;
    Ok(format!("{path}/{file}"))
}

fn boot_json(label: &str, kernel: &str, initrd: &str) -> String {
    let document = serde_json::json!({
        "org.nixos.bootspec.v1": {
            "init": "@out@/init",
            "initrd": initrd,
            "kernel": kernel,
            "kernelParams": ["console=ttyS0", "loglevel=4"],
            "label": label,
            "system": format!("{}-linux", std::env::consts::ARCH),
            "toplevel": "@out@",
        },
        "org.nixos.specialisation.v1": {},
    });
    format!("{document:#}\n")
}

fn link(place: &str, to: &str) -> (String, Node) {
    (place.to_owned(), Node::Link(to.to_owned()))
}

fn text(place: &str, text: &str) -> (String, Node) {
    (place.to_owned(), Node::Text(text.to_owned()))
}

fn script(place: &str, text: &str) -> (String, Node) {
    (place.to_owned(), Node::Script(text.to_owned()))
}
