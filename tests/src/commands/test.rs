//! `test`: everything that must hold before a change is good, from a fresh checkout.
//!
//! Order: tools, images and releases, format, lints, the binaries, all tests, the examples in the
//! documentation. A filter skips format, lints and examples and runs only the tests it names.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use nixctl_lab::{Error, Result, paths};

use super::build::cargo;

/// Lets the lab end the daemon at a chosen commit.
const FEATURES: [&str; 2] = ["--features", "nixctld/fault-injection"];
/// The version of the test runner that is installed where there is none.
const NEXTEST: &str = "cargo-nextest@0.9";

/// Options of `test`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The long tests too: a kill at every single commit (about an hour).
    #[arg(long)]
    full: bool,
    /// Only tests whose name contains this.
    filter: Option<String>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let began = Instant::now();
    super::prepare::run()?;
    let whole = arguments.filter.is_none();
    let passed = (!whole || lints()?) && tests(arguments)? && (!whole || examples()?);
    let minutes = began.elapsed().as_secs_f32() / 60.0;
    if passed {
        println!("lab: everything passed, in {minutes:.1} minutes");
        Ok(ExitCode::SUCCESS)
    } else {
        println!("lab: FAILED, after {minutes:.1} minutes");
        Ok(ExitCode::FAILURE)
    }
}

/// Format and lints. Clippy compiles everything, so the compiler's warnings are denied by it too;
/// the daemon as it is released is another configuration.
fn lints() -> Result<bool> {
    component("rustfmt", &["fmt", "--version"])?;
    component("clippy", &["clippy", "--version"])?;
    let deny = ["--", "-D", "warnings"];
    let everything = ["clippy", "--quiet", "--workspace", "--all-targets"];
    let released = [
        "clippy",
        "--quiet",
        "--package",
        "nixctld",
        "--bins",
        "--lib",
    ];
    Ok(cargo(&["fmt", "--all", "--check"], &[])?
        && cargo(&[&everything[..], &FEATURES, &deny].concat(), &[])?
        && cargo(&[&released[..], &deny].concat(), &[])?)
}

/// The programs first, since machine tests take them from the target folder; then all tests.
fn tests(arguments: &Arguments) -> Result<bool> {
    let build = [
        &["build", "--quiet", "--workspace", "--bins"],
        &FEATURES[..],
    ]
    .concat();
    let runner = nextest()?;
    let mut words = vec!["nextest", "run", "--workspace", "--no-tests=pass"];
    words.extend(FEATURES);
    if !arguments.full {
        words.push("--no-fail-fast");
    }
    let folder = paths::target().join("debug");
    let folder = folder.to_string_lossy();
    let mut variables = vec![("NIXCTL_BINARIES", &*folder), ("PATH", &*runner)];
    if arguments.full {
        words.extend(["--profile", "full"]);
        variables.push(("NIXCTL_LAB_FULL", "1"));
    }
    words.extend(arguments.filter.as_deref());
    Ok(cargo(&build, &[])? && cargo(&words, &variables)?)
}

/// The examples in the documentation.
fn examples() -> Result<bool> {
    let words = ["test", "--quiet", "--workspace", "--doc"];
    cargo(&[&words[..], &FEATURES].concat(), &[])
}

/// Makes sure of the test runner; returns the search path that finds it. Where it is missing it is
/// put into the lab's own folder, built without optimisation, which is much quicker.
fn nextest() -> Result<String> {
    let tools = paths::lab("tools")?;
    let path = std::env::var("PATH").unwrap_or_default();
    let with_tools = format!("{path}:{}", tools.join("bin").display());
    if answers(&["nextest", "--version"], &with_tools) {
        return Ok(with_tools);
    }
    println!("lab: building the test runner (once, a few minutes)");
    let root = tools.to_string_lossy();
    let target: PathBuf = tools.join("build");
    let target = target.to_string_lossy();
    let words = [
        "install",
        "--quiet",
        "--locked",
        "--debug",
        "--root",
        &root,
        "--target-dir",
        &target,
        NEXTEST,
    ];
    let installed = cargo(&words, &[("CARGO_PROFILE_DEV_DEBUG", "0")])?;
    paths::remove_tree(&tools.join("build"))?;
    if installed {
        Ok(with_tools)
    } else {
        Err(Error::new("install cargo-nextest", "see above"))
    }
}

/// Makes sure of a part of Rust that a minimal installation lacks.
fn component(name: &str, question: &[&str]) -> Result<()> {
    let path = std::env::var("PATH").unwrap_or_default();
    if answers(question, &path) {
        return Ok(());
    }
    println!("lab: rustup component add {name}");
    let status = Command::new("rustup")
        .args(["component", "add", name])
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Error::new(format!("install {name}"), status)),
        Err(why) => Err(Error::new(format!("install {name} with rustup"), why)),
    }
}

fn answers(words: &[&str], path: &str) -> bool {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(words).env("PATH", path);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
