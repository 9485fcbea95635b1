//! Commands that are answered from a script.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::lock;
use crate::host::{Cancel, Command, Exec, ExecError, Output};

type Effect = dyn Fn(&Command) -> Output + Send + Sync;

/// What a command does.
#[derive(Clone)]
pub enum Answer {
    /// Ends with this.
    Output(Output),
    /// Runs until its deadline.
    Hang,
    /// Does something to the machine of the test and ends with what that returns.
    Effect(Arc<Effect>),
}

impl Answer {
    /// Ends well, saying this.
    pub fn text(text: &str) -> Self {
        Answer::Output(Output {
            stdout: text.into(),
            ..Output::default()
        })
    }

    /// Ends with a code, complaining.
    pub fn code(code: i32, stderr: &str) -> Self {
        Answer::Output(Output {
            code,
            stderr: stderr.into(),
            ..Output::default()
        })
    }

    /// Does something to the machine of the test.
    pub fn effect(effect: impl Fn(&Command) -> Output + Send + Sync + 'static) -> Self {
        Answer::Effect(Arc::new(effect))
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Output(output) => f.debug_tuple("Output").field(output).finish(),
            Answer::Hang => f.write_str("Hang"),
            Answer::Effect(_) => f.write_str("Effect"),
        }
    }
}

/// One line of the script.
#[derive(Debug)]
struct Scripted {
    program: String,
    args: Vec<String>,
    answer: Answer,
}

/// Commands that are answered from a script and remembered.
///
/// A program is installed once [`FakeExec::install`] or [`FakeExec::answer`] named it. The newest
/// answer whose arguments the command begins with counts; without one the command ends well and
/// says nothing.
#[derive(Debug, Default)]
pub struct FakeExec {
    installed: Mutex<BTreeSet<String>>,
    script: Mutex<Vec<Scripted>>,
    calls: Mutex<Vec<Command>>,
}

impl FakeExec {
    /// Installs a program.
    pub fn install(&self, program: &str) {
        lock(&self.installed).insert(program.to_owned());
    }

    /// Takes a program off again, its answers with it.
    pub fn uninstall(&self, program: &str) {
        lock(&self.installed).remove(program);
        lock(&self.script).retain(|scripted| scripted.program != program);
    }

    /// Installs a program and says what it does when its arguments begin with `args`.
    pub fn answer(&self, program: &str, args: &[&str], answer: Answer) {
        self.install(program);
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        lock(&self.script).push(Scripted {
            program: program.to_owned(),
            args,
            answer,
        });
    }

    /// Every command so far, those that failed too.
    pub fn calls(&self) -> Vec<Command> {
        lock(&self.calls).clone()
    }

    /// The same as command lines.
    pub fn lines(&self) -> Vec<String> {
        lock(&self.calls).iter().map(Command::line).collect()
    }

    /// Forgets the commands so far.
    pub fn forget(&self) {
        lock(&self.calls).clear();
    }

    fn answer_to(&self, command: &Command) -> Option<Answer> {
        lock(&self.script)
            .iter()
            .rev()
            .find(|it| it.program == command.program && command.args.starts_with(&it.args))
            .map(|it| it.answer.clone())
    }
}

impl Exec for FakeExec {
    fn output(&self, command: &Command, cancel: &Cancel) -> Result<Output, ExecError> {
        lock(&self.calls).push(command.clone());
        if self.find(&command.program).is_none() {
            return Err(ExecError::Missing {
                program: command.program.clone(),
            });
        }
        if cancel.requested().is_some() {
            return Err(ExecError::Stopped {
                line: command.line(),
            });
        }
        match self.answer_to(command) {
            None => Ok(Output::default()),
            Some(Answer::Output(output)) => Ok(output),
            Some(Answer::Effect(effect)) => Ok(effect(command)),
            Some(Answer::Hang) => Err(ExecError::Deadline {
                line: command.line(),
                deadline: command.deadline,
            }),
        }
    }

    fn find(&self, program: &str) -> Option<PathBuf> {
        lock(&self.installed)
            .contains(program)
            .then(|| PathBuf::from("/usr/bin").join(program))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cancel::Stop;

    #[test]
    fn the_newest_fitting_answer_counts() {
        let exec = FakeExec::default();
        let cancel = Cancel::default();
        assert!(matches!(
            exec.output(&Command::new("id"), &cancel),
            Err(ExecError::Missing { .. })
        ));
        exec.answer("id", &[], Answer::text("any"));
        exec.answer("id", &["-u"], Answer::code(3, "no"));
        let run = |args: &[&str]| exec.output(&Command::new("id").args(args.to_vec()), &cancel);
        assert_eq!(run(&["-g"]).unwrap().text(), "any");
        assert_eq!(run(&["-u", "x"]).unwrap().code, 3);
        exec.answer("id", &["-u"], Answer::Hang);
        assert!(matches!(run(&["-u"]), Err(ExecError::Deadline { .. })));
        cancel.request(Stop::Cancelled);
        assert!(matches!(run(&[]), Err(ExecError::Stopped { .. })));
        assert_eq!(exec.lines(), ["id", "id -g", "id -u x", "id -u", "id"]);
        exec.uninstall("id");
        assert_eq!(exec.find("id"), None);
    }
}
