//! Whether Nix takes its settings, and whether what they name is there.

use std::path::Path;

use nixctl_proto::health::Severity;
use nixctl_proto::health::check::Check;

use super::Found;
use crate::catalogue::linux::SERVICE_UNIT;
use crate::health::look::conf::{ConfFacts, NIX_CONF, Setting, WrongLine};
use crate::health::mend::Mend;
use crate::health::mend::conf_line::ConfLine;
use crate::health::mend::rights::Rights;
use crate::health::mend::unit::Restart;
use crate::resource::{Presence, Resource};

/// The first id that Nix takes for builds when it allocates them itself, and how many.
const AUTO_IDS: (u32, u32) = (872_415_232, 56_098_816);

/// Everybody can read and enter a folder.
const OPEN: u32 = 0o055;

pub(super) fn judge(facts: &ConfFacts) -> Vec<Found> {
    if facts.is_lost_link {
        return vec![lost_link(facts)];
    }
    let mut found = Vec::new();
    found.extend(closed_folder(facts));
    found.extend(unreadable(facts));
    found.extend(facts.wrong.iter().map(syntax));
    found.extend(facts.lost_includes.iter().map(include));
    let lost = facts.lost_files.iter();
    found.extend(lost.map(|(setting, path)| lost_file(facts, setting, path)));
    found.extend(group(facts));
    found.extend(breaking(facts));
    found.extend(ours(facts));
    found.extend(nix_says(facts, found.is_empty()));
    if facts.at.target.is_some() {
        found = found.into_iter().map(managed_by_others).collect();
    }
    found
}

/// A link is managed by somebody else (NixOS, nix-darwin): it is corrected there.
fn managed_by_others(found: Found) -> Found {
    if found.cures.is_empty() {
        return found;
    }
    Found {
        cures: Vec::new(),
        ..found.help(format!(
            "{NIX_CONF} is a link: correct it in the configuration that it is made from"
        ))
    }
}

/// Who managed it is gone with what it led to: nothing is lost when it is set aside.
fn lost_link(facts: &ConfFacts) -> Found {
    let target = facts.at.target.as_deref().unwrap_or(Path::new("?"));
    let ours = facts.ours.as_ref().map(|(conf, _)| conf.clone());
    Found::new(Check::ConfUnreadable, NIX_CONF)
        .seen(format!(
            "it is a link to {}, which is not there",
            target.display()
        ))
        .expected("a file that all can read")
        .set_aside(NIX_CONF)
        .ensure(ours.map(Resource::NixConf))
}

/// Somebody may have closed the folder for a secret that lies in it, so that it is opened when asked.
fn closed_folder(facts: &ConfFacts) -> Option<Found> {
    let path = facts.folder.path.display().to_string();
    let meta = facts.folder.meta.filter(|_| facts.folder.is_directory())?;
    (meta.mode & OPEN != OPEN).then(|| {
        Found::new(Check::ConfUnreadable, path)
            .seen(format!(
                "its folder has the mode {:04o}",
                meta.mode & 0o7777
            ))
            .expected("a folder that all can enter")
            .mend(Mend::Rights(Rights {
                path: facts.folder.path.clone(),
                mode: meta.mode & 0o7777 | OPEN,
                uid: meta.uid,
                gid: meta.gid,
            }))
    })
}

fn unreadable(facts: &ConfFacts) -> Option<Found> {
    let meta = facts.at.meta.filter(|_| facts.at.target.is_none())?;
    let found = Found::new(Check::ConfUnreadable, NIX_CONF).expected("a file that all can read");
    if !facts.at.is_file() {
        return Some(
            found
                .seen("it is no regular file")
                .help("move it away; `nixctl repair` writes its own settings again"),
        );
    }
    (meta.mode & 0o004 == 0).then(|| {
        found.seen(format!("mode {:04o}", meta.mode)).help(format!(
            "move secrets to a file of their own (`!include`), then: chmod a+r {NIX_CONF}"
        ))
    })
}

fn taken_out(file: &Path, line: &str, why: &str, instead: Vec<String>) -> Mend {
    Mend::ConfLine(ConfLine {
        file: file.to_owned(),
        line: line.to_owned(),
        why: why.to_owned(),
        instead,
    })
}

/// The daemon goes on with the settings that it was started with until it is started again.
fn restarted(found: Found, facts: &ConfFacts) -> Found {
    if !facts.has_service {
        return found;
    }
    found.mend(Mend::Restart(Restart {
        unit: SERVICE_UNIT.to_owned(),
    }))
}

fn place(line: &WrongLine) -> String {
    format!("{}:{}", line.file.display(), line.number)
}

fn syntax(line: &WrongLine) -> Found {
    let why = "Nix does not understand it";
    Found::new(Check::Syntax, place(line))
        .seen(format!("`{}`", line.line.trim()))
        .expected("`key = value`, with blanks around the sign")
        .mend(taken_out(&line.file, &line.line, why, Vec::new()))
}

fn include(line: &WrongLine) -> Found {
    let why = "the file is not there";
    Found::new(Check::IncludeMissing, place(line))
        .seen(format!("`{}`, and {why}", line.line.trim()))
        .expected("a file that is there, or `!include`")
        .mend(taken_out(&line.file, &line.line, why, Vec::new()))
}

fn lost_file(facts: &ConfFacts, setting: &Setting, path: &Path) -> Found {
    let check = match setting.key.as_str() {
        "ssl-cert-file" => Check::MissingCa,
        "netrc-file" => Check::NetrcMissing,
        "secret-key-files" => Check::KeyMissing,
        _ => Check::HookMissing,
    };
    let (key, path) = (&setting.key, path.display());
    let why = format!("{path} is not there");
    let found = Found::new(check, format!("{key} {path}"))
        .seen(format!(
            "{} sets `{key} = {}`, and {why}",
            setting.file.display(),
            setting.value
        ))
        .expected("a file that is there");
    match (check, &facts.bundle) {
        (Check::NetrcMissing, _) => found.help(format!("bring {path} back")),
        (Check::MissingCa, None) => {
            found.help("install the system's CA certificates, then run `nixctl repair`")
        }
        (Check::MissingCa, Some(bundle)) => {
            let instead = vec![format!("ssl-cert-file = {}", bundle.display())];
            found.mend(taken_out(&setting.file, &setting.line, &why, instead))
        }
        _ => {
            let line = taken_out(&setting.file, &setting.line, &why, Vec::new());
            restarted(found.mend(line), facts)
        }
    }
}

fn group(facts: &ConfFacts) -> Option<Found> {
    let expected = facts.group.as_ref()?;
    let set = facts.last("build-users-group")?;
    let mut all = facts.settings.iter().filter(|it| it.key == set.key);
    // The last one counts for Nix, and the first one for programs that read the file themselves.
    let other = all.find(|it| it.value != set.value);
    if let Some(other) = other.filter(|_| set.value == *expected) {
        return Some(
            Found::new(Check::WrongGroup, "build-users-group")
                .severity(Severity::Warning)
                .seen(format!(
                    "it is set to `{}` and to `{}`",
                    other.value, set.value
                ))
                .expected(format!("`{expected}`, once"))
                .help(format!("take out the line `{}`", other.line.trim())),
        );
    }
    (set.value != *expected)
        .then(|| {
            Found::new(Check::WrongGroup, "build-users-group")
                .seen(format!("{} sets it to `{}`", set.file.display(), set.value))
                .expected(format!("`{expected}`"))
                .mend(taken_out(
                    &set.file,
                    &set.line,
                    "it is not the group of the build users",
                    vec![format!("build-users-group = {expected}")],
                ))
        })
        .map(|found| restarted(found, facts))
}

/// Values that Nix takes and that cannot work here.
fn breaking(facts: &ConfFacts) -> Vec<Found> {
    let mut found = Vec::new();
    let value = |key: &str| facts.last(key).map_or("", |it| it.value.as_str());
    let finding = |key: &str, seen: String, help: &str| {
        Found::new(Check::Breaking, key)
            .seen(seen)
            .expected("a value that works here")
            .help(help)
    };
    let (first, count) = AUTO_IDS;
    let covered = facts.uid_map.iter().any(|range| {
        range.first <= first && first - range.first < range.count.saturating_sub(count)
    });
    if value("auto-allocate-uids") == "true" && !covered {
        found.push(finding(
            "auto-allocate-uids",
            format!("it is on, and the user id {first} does not exist in this container"),
            "set `auto-allocate-uids = false`, or give the container more ids",
        ));
    }
    if value("max-jobs") == "0" && value("builders").is_empty() {
        found.push(finding(
            "max-jobs",
            "it is 0, and there are no other machines to build on".to_owned(),
            "set `max-jobs = auto`",
        ));
    }
    found
}

fn ours(facts: &ConfFacts) -> Option<Found> {
    let (conf, presence) = facts.ours.as_ref()?;
    let found = Found::new(Check::SettingsMissing, NIX_CONF).expected("the settings of nixctl");
    match presence {
        Presence::Present => None,
        Presence::Absent => Some(found.seen("none of them is there")),
        Presence::Drifted(seen) => Some(found.seen(seen)),
        // Told as a file that cannot be read.
        Presence::Foreign(_) => None,
    }
    .map(|found| found.ensure(Resource::NixConf(conf.clone())))
}

/// What Nix itself says counts where nothing was found that explains it.
fn nix_says(facts: &ConfFacts, is_sound: bool) -> Vec<Found> {
    let mut found: Vec<Found> = facts
        .unknown
        .iter()
        .map(|name| {
            Found::new(Check::UnknownSetting, name)
                .seen(format!("Nix does not know `{name}`"))
                .expected("a setting of this version")
                .help("correct its spelling, or take it out")
        })
        .collect();
    if let (Some(refusal), true) = (&facts.refusal, is_sound) {
        found.push(refused(facts, refusal));
    }
    found
}

/// When Nix names the setting whose value it does not take, its line can be taken out.
fn refused(facts: &ConfFacts, refusal: &str) -> Found {
    let found = Found::new(Check::Refused, NIX_CONF)
        .seen(refusal)
        .expected("settings that Nix takes");
    let named = refusal.contains("invalid value").then(|| {
        let key = refusal.split('\'').nth(1)?;
        facts.last(key)
    });
    match named.flatten() {
        Some(setting) => {
            let why = "Nix does not take this value";
            found.mend(taken_out(&setting.file, &setting.line, why, Vec::new()))
        }
        None => found.help("correct what Nix names"),
    }
}

#[cfg(test)]
#[path = "conf_tests.rs"]
mod tests;
