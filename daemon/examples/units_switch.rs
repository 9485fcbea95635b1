//! Makes a toplevel the running system with the daemon's own step, without the daemon: for tests on
//! a machine with a real systemd.
//!
//! `units_switch TOPLEVEL [undo]` prints one line of JSON: what was decided, and why it failed if
//! it did. With `undo` it takes the activation back at the end.
#![allow(clippy::expect_used)]

use std::sync::Arc;

use nixctl_planner::units::Reasons;
use nixctld::host::clock::SystemClock;
use nixctld::host::exec::SystemExec;
use nixctld::host::service::Systemd;
use nixctld::host::{Cancel, Fs, Host};
use nixctld::payload::PayloadError;
use nixctld::payload::worker::{Task, Worker};
use nixctld::resource::{Context, Progress, Silent};
use nixctld::switch::activate::Recorded;
use nixctld::switch::step::{Activate, SwitchUndo, Toplevel};
use serde_json::{Value, json};

/// An activation has nothing for a worker to do.
struct NoWorker;

impl Worker for NoWorker {
    fn run(&self, task: &Task, _: &dyn Progress, _: &Cancel) -> Result<(), PayloadError> {
        unreachable!("an activation needs no worker for {task:?}")
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let toplevel = args.next().expect("the toplevel is named");
    let undo = args.next().is_some_and(|word| word == "undo");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let handle = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    let host = Host {
        fs: Fs::at("/"),
        exec: Arc::new(SystemExec),
        services: Arc::new(Systemd::new(handle)),
        clock: Arc::new(SystemClock),
        network: Arc::new(nixctld::host::fake::FixedNetwork(
            nixctld::host::power::Metered::Unknown,
        )),
    };
    let context = Context {
        host: &host,
        progress: &Silent,
        cancel: &Cancel::default(),
        worker: &NoWorker,
    };
    println!("{}", run(&context, toplevel, undo));
}

fn run(context: &Context<'_>, toplevel: String, undo: bool) -> Value {
    let step = Activate {
        roots: "/nix/var/nix/gcroots/nixctl/none".into(),
        from: Toplevel::Path("/run/none".to_owned()),
        to: Toplevel::Path(toplevel),
        own_program: false,
        seconds: 60,
    };
    let prepared = match step.prepare(context) {
        Ok(prepared) => prepared,
        Err(error) => return json!({ "error": error.to_string() }),
    };
    let mut result = step.apply(context, &prepared).map(drop);
    if undo {
        let back = step.undo(context, &prepared).map(drop);
        result = result.and(back);
    }
    json!({
        "decided": decided(&prepared),
        "error": result.err().map(|error| error.to_string()),
    })
}

fn decided(prepared: &SwitchUndo) -> Value {
    let SwitchUndo::Activate { decisions, .. } = prepared else {
        return Value::Null;
    };
    let recorded: Recorded = serde_json::from_str(decisions).unwrap_or_default();
    let names = |reasons: &Reasons| -> Vec<String> {
        reasons
            .keys()
            .map(|unit| unit.as_str().to_owned())
            .collect()
    };
    let decisions = recorded.decisions;
    json!({
        "stop": names(&decisions.stop),
        "reload": names(&decisions.reload),
        "restart": names(&decisions.restart),
        "start": names(&decisions.start),
        "skip": names(&decisions.skip),
    })
}
