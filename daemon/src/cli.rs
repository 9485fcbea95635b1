//! The command line of `nixctld`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use nixctl_proto::{Failure, SOCKET_PATH};

use tokio::runtime::Handle;

use crate::host::{in_image, leashed};
use crate::logging::{self, Level, LogControl};
use crate::serve::{self, Backend, bus};
use crate::takeover::{Edition, fault, keeper};

/// The privileged daemon that owns Nix on a machine.
#[derive(Debug, Parser)]
#[command(name = "nixctld", version = nixctl_proto::version(), max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve clients until a signal
    Serve(Serve),
    /// Do one piece of heavy work for a daemon that started this process
    #[command(hide = true)]
    Worker,
    /// Run a program in the folder of an image, with this machine's /proc and /dev
    #[command(hide = true)]
    InImage(InImage),
    /// Look whether a database is sound, for a daemon that started this process
    #[command(hide = true)]
    ExamineDatabase(ExamineDatabase),
    /// Say, as JSON, what this build is and what it fits
    #[command(hide = true)]
    Describe,
    /// Keep the version of before, around each start of another one
    #[command(hide = true)]
    Takeover(Takeover),
    /// Run a program that ends with the daemon that started this process
    #[command(hide = true)]
    Leashed(Leashed),
}

/// How to serve.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// Serve only the client at the other end of standard input
    #[arg(long)]
    pub private: bool,
    /// Change the machine in this folder instead of the running one
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// Keep the state here [default: /var/lib/nixctl under the root]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Do not serve on the system bus
    #[arg(long)]
    pub no_bus: bool,
    /// Listen here
    #[arg(long, value_name = "PATH", default_value = SOCKET_PATH, hide = true)]
    pub socket: PathBuf,
}

/// What to look at.
#[derive(Debug, Args)]
pub struct ExamineDatabase {
    /// Whether it is Nix's own.
    #[arg(long)]
    of_nix: bool,
    /// The database.
    path: PathBuf,
}

/// What to run in an image.
#[derive(Debug, Args)]
pub struct InImage {
    /// The image's root folder.
    root: PathBuf,
    /// The program with its arguments, as they are called in the image.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// What to run no longer than the daemon.
#[derive(Debug, Args)]
pub struct Leashed {
    /// Process id of the daemon.
    parent: i32,
    /// The program with its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// When it is run.
#[derive(Debug, Args)]
pub struct Takeover {
    /// Before a start or after it.
    when: keeper::When,
}

/// Opens the backend; the handle is of the runtime that serves.
pub type Open = fn(&Serve, Handle) -> Result<Arc<dyn Backend>, Failure>;

/// What the command line starts: given by `main`, so that this room knows neither.
pub struct Parts {
    /// Opens the backend.
    pub open: Open,
    /// Does a worker's task.
    pub worker: fn() -> ExitCode,
    /// Looks at a database, Nix's own or another.
    pub examine: fn(&Path, bool) -> ExitCode,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// Does what the command line says.
pub fn main(parts: Parts) -> ExitCode {
    match Arguments::parse().command {
        Command::Serve(options) => serve(options, parts.open),
        Command::Worker => (parts.worker)(),
        Command::ExamineDatabase(what) => (parts.examine)(&what.path, what.of_nix),
        Command::InImage(what) => in_image::run(&what.root, &what.command),
        Command::Leashed(what) => leashed::run(what.parent, &what.command),
        Command::Describe => describe(),
        Command::Takeover(what) => {
            let _log = logging::start(Level::default());
            keeper::main(what.when)
        }
    }
}

/// Another version asks, before this one is put in its place.
fn describe() -> ExitCode {
    match serde_json::to_string(&Edition::own()) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(options: Serve, open: Open) -> ExitCode {
    if !options.private {
        fault::at_start();
    }
    let log = logging::start(Level::default()).unwrap_or_else(|_| LogControl::detached());
    let serving = serve::Options {
        private: options.private,
        bus: (!options.no_bus && !options.private).then_some(bus::Address::System),
        socket: options.socket.clone(),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let handle = runtime.handle().clone();
    let result = runtime.block_on(serve::run(serving, log, move || open(&options, handle)));
    // A thread that is stuck must not keep the process.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{}: {failure}", failure.code);
            for cause in &failure.causes {
                tracing::error!("cause: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_program_in_an_image_gets_its_own_options() {
        let line = [
            "nixctld",
            "in-image",
            "/mnt",
            "/bin/x",
            "--version",
            "-a",
            "b",
        ];
        match Arguments::parse_from(line).command {
            Command::InImage(what) => assert_eq!(what.command, ["/bin/x", "--version", "-a", "b"]),
            other => panic!("not what was said: {other:?}"),
        }
    }

    #[test]
    fn images_have_a_root() {
        let arguments = Arguments::parse_from(["nixctld", "serve", "--private", "--root", "/mnt"]);
        match arguments.command {
            Command::Serve(serve) => {
                assert!(serve.private);
                assert_eq!(serve.root, PathBuf::from("/mnt"));
                assert_eq!(serve.socket, PathBuf::from(SOCKET_PATH));
            }
            other => panic!("not what was said: {other:?}"),
        }
    }
}
