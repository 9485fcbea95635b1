//! `test`: everything that must hold before a change is good, from a fresh checkout.
//!
//! Order: tools; images and releases, and beside them format, lints and the binaries; all tests; the
//! examples in the documentation. A filter skips format, lints and examples and runs only the tests
//! it names.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use nixctl_lab::progress::{self, Follower};
use nixctl_lab::{Error, Result, paths, prepare};

use super::build::cargo;

/// Lets the lab end the daemon at a chosen commit.
const FEATURES: [&str; 2] = ["--features", "nixctld/fault-injection"];
/// The test runner that is installed where there is none; a bare `0.9` is no requirement to cargo.
const NEXTEST: &str = "cargo-nextest@^0.9";

/// Options of `test`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The long tests too: a kill at every single commit.
    #[arg(long)]
    full: bool,
    /// Only tests whose name, or whose file's name, contains this.
    #[arg(value_parser = plain)]
    filter: Option<String>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let began = Instant::now();
    super::prepare::tools()?;
    let whole = arguments.filter.is_none();
    let passed = made(whole)? && tests(arguments)? && (!whole || examples()?);
    let minutes = began.elapsed().as_secs_f32() / 60.0;
    if passed {
        println!("lab: everything passed, in {minutes:.1} minutes");
        Ok(ExitCode::SUCCESS)
    } else {
        println!("lab: FAILED, after {minutes:.1} minutes");
        Ok(ExitCode::FAILURE)
    }
}

/// Makes what the tests need: the machines' images while the programs are looked at and built, since
/// the first wait for the network and the disk more than for a processor.
fn made(whole: bool) -> Result<bool> {
    std::thread::scope(|scope| {
        let images = scope.spawn(|| {
            super::prepare::images()?;
            if whole {
                super::prepare::generations()?;
            }
            Ok(())
        });
        let built = (|| Ok((!whole || lints()?) && binaries()?))();
        let images: Result<()> = images
            .join()
            .unwrap_or_else(|_| Err(Error::new("make the images", "a panic, see above")));
        images.and(built)
    })
}

/// The programs and examples, which machine tests take from the target folder.
fn binaries() -> Result<bool> {
    let words = ["build", "--quiet", "--workspace", "--bins", "--examples"];
    cargo(&[&words[..], &FEATURES].concat(), &[])
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

/// All tests, or those that the filter names.
fn tests(arguments: &Arguments) -> Result<bool> {
    let runner = nextest()?;
    // A filter that finds nothing is a mistake, not a success.
    let mut words = vec!["nextest", "run", "--workspace", "--no-tests=fail"];
    words.extend(FEATURES);
    words.push("--no-fail-fast");
    let folder = paths::target().join("debug");
    let folder = folder.to_string_lossy();
    let mut variables = vec![("NIXCTL_BINARIES", &*folder), ("PATH", &*runner)];
    if arguments.full {
        words.extend(["--profile", "full"]);
        variables.push(("NIXCTL_LAB_FULL", "1"));
    }
    let filter = arguments.filter.as_deref();
    let filter = filter.map(|word| filterset(word, &test_files()));
    if let Some(filter) = &filter {
        words.extend(["-E", filter]);
    }
    let follower = Follower::start(&paths::lab("scratch")?.join(paths::unique("progress")))?;
    let file = follower.path().to_string_lossy().into_owned();
    variables.push((progress::VARIABLE, &file));
    let passed = cargo(&words, &variables);
    let wrong = follower.finish();
    if !wrong.is_empty() {
        println!("lab: wrong in the campaigns:");
        wrong.iter().for_each(|line| println!("lab:   {line}"));
    }
    passed
}

/// "The name contains it, or it is in one of these files" in the test runner's language, which
/// takes a file that does not exist for a mistake.
fn filterset(word: &str, files: &[String]) -> String {
    let files = files
        .iter()
        .filter(|file| file.contains(word))
        .map(|file| format!(" | binary(={file})"));
    std::iter::once(format!("test(~{word})"))
        .chain(files)
        .collect()
}

/// The names of all files of tests, of every package.
fn test_files() -> Vec<String> {
    let folders = |dir: PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = folders(paths::workspace())
        .flat_map(|package| folders(package.path().join("tests")))
        .filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".rs")?.to_owned()))
        .collect();
    names.sort_unstable();
    names
}

/// A word that means itself in the test runner's language.
fn plain(text: &str) -> std::result::Result<String, String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':' || c == '-';
    if !text.is_empty() && text.chars().all(word) {
        Ok(text.to_owned())
    } else {
        Err("it is part of a test's name: letters, digits, `_`, `-` and `:`".to_owned())
    }
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
    // What was built in an attempt is there in the next one.
    prepare::retry(
        || match cargo(&words, &[("CARGO_PROFILE_DEV_DEBUG", "0")])? {
            true => Ok(()),
            false => Err(Error::new("install cargo-nextest", "see above")),
        },
    )?;
    paths::remove_tree(&tools.join("build"))?;
    Ok(with_tools)
}

/// Makes sure of a part of Rust that a minimal installation lacks.
fn component(name: &str, question: &[&str]) -> Result<()> {
    let path = std::env::var("PATH").unwrap_or_default();
    if answers(question, &path) {
        return Ok(());
    }
    println!("lab: rustup component add {name}");
    prepare::retry(|| {
        let status = Command::new("rustup")
            .args(["component", "add", name])
            .status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Error::new(format!("install {name}"), status)),
            Err(why) => Err(Error::new(format!("install {name} with rustup"), why)),
        }
    })
}

fn answers(words: &[&str], path: &str) -> bool {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(words).env("PATH", path);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::{filterset, plain, test_files};

    #[test]
    fn a_filter_is_one_plain_word() {
        assert_eq!(plain("install::a_b-c").as_deref(), Ok("install::a_b-c"));
        for odd in ["", "a b", "a)", "test(x)", "/re/"] {
            assert!(plain(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_filter_names_tests_and_files() {
        let files = test_files();
        assert!(files.contains(&"kill".to_owned()), "{files:?}");
        assert_eq!(filterset("kill", &files), "test(~kill) | binary(=kill)");
        assert_eq!(filterset("nothing", &files), "test(~nothing)");
    }
}
