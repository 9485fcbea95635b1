//! Turns packages of a [`Pool`] into store paths, one each, that run on any machine.
//!
//! A named package comes whole; what its programs link to comes as library packages, found by the
//! names of the libraries. References are made by patchelf (loader, search path), by links and by
//! the first line of scripts. A path's hash part is made of its package, the recipe and the paths it
//! refers to, so that a changed libc changes every path, as with Nix.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::pool::{Pool, library_name};
use crate::dist::relocate::{copy, make_dir, patchelf, store_path};
use crate::error::{Context, Error, Result};
use crate::exec::Run;

/// The package whose links are one per applet, and which runs scripts.
pub const SHELL: &str = "busybox-static";
/// The package with the loader.
const LIBC: &str = "libc6";

/// What happens to one file.
#[derive(Debug)]
enum Action {
    Copy,
    /// Patched to find libraries in these packages.
    Patch(BTreeSet<String>),
    /// Its first line names this interpreter: package and place.
    Script(String, String),
    /// A link to a place in a package.
    Link(String, String),
}

/// One package, planned.
#[derive(Debug, Default)]
struct Planned {
    files: BTreeMap<String, (PathBuf, Action)>,
    needs: BTreeSet<String>,
}

/// Makes the store paths of these packages and of all they need below `root/nix/store`; returns
/// package name -> store path.
pub fn relocate(
    root: &Path,
    pool: &Pool,
    packages: &[&str],
    recipe: &str,
) -> Result<BTreeMap<String, String>> {
    let plan = plan(pool, packages)?;
    let mut paths: BTreeMap<String, String> = BTreeMap::new();
    for name in order(&plan)? {
        let planned = &plan[&name];
        let version = pool.package(&name).map_or("0", |package| &package.version);
        let version = version.replace(['+', '~'], "-");
        let needs = planned.needs.iter().map(|need| paths[need].as_str());
        let needs: Vec<&str> = needs.collect();
        let files: Vec<&str> = planned.files.keys().map(String::as_str).collect();
        let seed = format!("{recipe}\n{}\n{}", needs.join("\n"), files.join("\n"));
        let path = store_path(&format!("{name}-{version}"), &seed);
        paths.insert(name.clone(), path.clone());
        make(root, &path, planned, &paths)?;
        if name == SHELL {
            applets(&root.join(path.trim_start_matches('/')).join("bin"))?;
        }
    }
    Ok(paths)
}

/// Follows what the packages need until nothing is missing.
fn plan(pool: &Pool, packages: &[&str]) -> Result<BTreeMap<String, Planned>> {
    let mut programs: BTreeSet<String> = packages.iter().map(|&name| name.to_owned()).collect();
    programs.insert(SHELL.to_owned());
    let mut todo: Vec<String> = programs.iter().cloned().collect();
    let mut plan: BTreeMap<String, Planned> = BTreeMap::new();
    while let Some(name) = todo.pop() {
        let whole = programs.contains(&name);
        let (planned, wanted) = examine(pool, &name, whole)?;
        for need in &planned.needs {
            let seen = plan.contains_key(need) || todo.contains(need);
            let grows = wanted.contains(need) && programs.insert(need.clone());
            if (grows || !seen) && *need != name {
                todo.push(need.clone());
            }
        }
        plan.insert(name, planned);
    }
    Ok(plan)
}

/// Decides what to do with each file of a package. Beside the plan, returns the needed packages
/// that must come whole, since a program or script of them is needed and not only a library.
fn examine(pool: &Pool, name: &str, whole: bool) -> Result<(Planned, BTreeSet<String>)> {
    let package = pool
        .package(name)
        .ok_or_else(|| Error::new(format!("relocate {name}"), "there is no such package"))?;
    let mut planned = Planned::default();
    let mut wanted = BTreeSet::new();
    for (place, file) in &package.files {
        if !whole && library_name(place).is_none() {
            continue;
        }
        let action = if file.is_symlink() {
            let Some(target) = package.target(file) else {
                continue;
            };
            let owner = match package.files.contains_key(&target) {
                true => Some(name),
                false => pool.owner(&target),
            };
            let Some(owner) = owner else { continue };
            if library_name(&target).is_none() {
                wanted.insert(owner.to_owned());
            }
            Action::Link(owner.to_owned(), target)
        } else {
            match kind(file)? {
                Kind::Elf => patch(pool, name, place, file)?,
                Kind::Script(interpreter) => match script(&interpreter) {
                    Some((owner, program)) => {
                        wanted.insert(owner.to_owned());
                        Action::Script(owner.to_owned(), program.to_owned())
                    }
                    None => continue,
                },
                Kind::Other => Action::Copy,
            }
        };
        match &action {
            Action::Copy => {}
            Action::Patch(providers) => planned.needs.extend(providers.iter().cloned()),
            Action::Script(owner, _) | Action::Link(owner, _) => {
                planned.needs.insert(owner.clone());
            }
        }
        planned.files.insert(place.clone(), (file.clone(), action));
    }
    planned.needs.remove(name);
    wanted.remove(name);
    Ok((planned, wanted))
}

/// How an ELF file is patched: not at all when it is static, the loader or the C library itself.
fn patch(pool: &Pool, name: &str, place: &str, file: &Path) -> Result<Action> {
    let loader = place.starts_with("lib/ld-linux");
    if loader || place == "lib/libc.so.6" {
        return Ok(Action::Copy);
    }
    // A program without a dynamic section has no such list.
    let Ok(needed) = patchelf(&["--print-needed"], file) else {
        return Ok(Action::Copy);
    };
    let mut providers = BTreeSet::new();
    for library in needed.lines() {
        let provider = pool.provider(library).ok_or_else(|| {
            let why = format!("nothing has {library}, which {place} needs");
            Error::new(format!("relocate {name}"), why)
        })?;
        providers.insert(provider.to_owned());
    }
    match providers.is_empty() {
        true => Ok(Action::Copy),
        false => Ok(Action::Patch(providers)),
    }
}

/// Package and place of an interpreter that scripts may have.
fn script(interpreter: &str) -> Option<(&'static str, &'static str)> {
    match interpreter.rsplit('/').next()? {
        "sh" | "dash" => Some((SHELL, "bin/sh")),
        "bash" => Some(("bash", "bin/bash")),
        _ => None,
    }
}

enum Kind {
    Elf,
    Script(String),
    Other,
}

fn kind(file: &Path) -> Result<Kind> {
    let mut start = Vec::new();
    let opened = fs::File::open(file).context(|| format!("open {}", file.display()))?;
    opened
        .take(256)
        .read_to_end(&mut start)
        .context(|| format!("read {}", file.display()))?;
    if start.starts_with(b"\x7fELF") {
        return Ok(Kind::Elf);
    }
    let Some(line) = start.strip_prefix(b"#!") else {
        return Ok(Kind::Other);
    };
    let line = String::from_utf8_lossy(line);
    let first = line.lines().next().unwrap_or_default();
    let interpreter = first.split_whitespace().next().unwrap_or_default();
    Ok(Kind::Script(interpreter.to_owned()))
}

/// The packages in an order in which each comes after what it needs.
fn order(plan: &BTreeMap<String, Planned>) -> Result<Vec<String>> {
    let mut done: Vec<String> = Vec::new();
    while done.len() < plan.len() {
        let ready: Vec<&String> = plan
            .iter()
            .filter(|(name, _)| !done.contains(name))
            .filter(|(_, planned)| planned.needs.iter().all(|need| done.contains(need)))
            .map(|(name, _)| name)
            .collect();
        if ready.is_empty() {
            let left: Vec<&String> = plan.keys().filter(|name| !done.contains(name)).collect();
            return Err(Error::new(
                "order the packages",
                format!("a circle: {left:?}"),
            ));
        }
        done.extend(ready.into_iter().cloned());
    }
    Ok(done)
}

fn make(
    root: &Path,
    path: &str,
    planned: &Planned,
    paths: &BTreeMap<String, String>,
) -> Result<()> {
    let out = root.join(path.trim_start_matches('/'));
    make_dir(&out)?;
    for (place, (file, action)) in &planned.files {
        let target = out.join(place);
        make_dir(target.parent().unwrap_or(&out))?;
        if let Action::Link(owner, to) = action {
            let to = format!("{}/{to}", paths[owner]);
            symlink(&to, &target).context(|| format!("link {}", target.display()))?;
            continue;
        }
        let data = fs::metadata(file).context(|| format!("read {}", file.display()))?;
        let executable = data.permissions().mode() & 0o100 != 0;
        copy(file, &target, if executable { 0o755 } else { 0o644 })?;
        match action {
            Action::Patch(providers) => rewire(&target, providers, paths)?,
            Action::Script(owner, program) => {
                reinterpret(&target, &format!("{}/{program}", paths[owner]))?;
            }
            Action::Copy | Action::Link(..) => {}
        }
    }
    Ok(())
}

/// Points an ELF file to its libraries, and a program to its loader.
fn rewire(
    file: &Path,
    providers: &BTreeSet<String>,
    paths: &BTreeMap<String, String>,
) -> Result<()> {
    let folders: Vec<String> = providers
        .iter()
        .map(|provider| format!("{}/lib", paths[provider]))
        .collect();
    let search = folders.join(":");
    let mut arguments = vec!["--set-rpath", &search];
    let loader = patchelf(&["--print-interpreter"], file).ok();
    let loader = loader.map(|old| {
        let name = old.rsplit('/').next().unwrap_or_default().to_owned();
        format!("{}/lib/{name}", paths[LIBC])
    });
    if let Some(loader) = &loader {
        arguments.extend(["--set-interpreter", loader]);
    }
    patchelf(&arguments, file).map(drop)
}

/// Gives a script another interpreter, keeping its arguments.
fn reinterpret(file: &Path, program: &str) -> Result<()> {
    let bytes = fs::read(file).context(|| format!("read {}", file.display()))?;
    let end = bytes.iter().position(|&byte| byte == b'\n');
    let (first, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
    let first = String::from_utf8_lossy(first);
    let arguments: Vec<&str> = first
        .trim_start_matches("#!")
        .split_whitespace()
        .skip(1)
        .collect();
    let mut text = format!("#!{program} {}", arguments.join(" "))
        .trim_end()
        .as_bytes()
        .to_vec();
    text.extend_from_slice(rest);
    fs::write(file, text).context(|| format!("write {}", file.display()))
}

fn applets(bin: &Path) -> Result<()> {
    let busybox = bin.join("busybox");
    let list = Run::new(&[&*busybox.to_string_lossy(), "--list"])
        .run()?
        .ok()?;
    for applet in list.stdout.lines().filter(|&applet| applet != "busybox") {
        symlink("busybox", bin.join(applet)).context(|| format!("link {applet}"))?;
    }
    Ok(())
}
