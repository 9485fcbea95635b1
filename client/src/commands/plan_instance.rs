//! `nixctl plan --instance`: the disk planner on an abstract instance; no daemon is asked.

use std::fs::File;
use std::io::{BufReader, Read, stdin};
use std::path::Path;

use nixctl_planner::order::{
    Instance, Options, OrderError, Plan, Shortfall, Strategy, check, plan,
};
use nixctl_proto::{Code, Exit, Failure};
use serde::de::DeserializeOwned;

use super::{Context, Outcome, save};
use crate::cli;
use crate::render::text::{bytes, clean};
use crate::render::{order, svg};

/// Bytes of a file that are read at most: a thousand components of a thousand long names each
/// have a tenth of it.
const LARGEST: u64 = 1 << 30;

/// Plans an instance, or checks the plan of one, and shows it.
pub fn run(context: &mut Context, file: &Path, what: &cli::PlanOrder) -> Outcome {
    let instance: Instance = read(file)?;
    instance
        .validate()
        .map_err(|error| malformed(file, &error.to_string()))?;
    let plan = match &what.check {
        Some(file) => read(file)?,
        None => make(&instance, what)?,
    };
    if let Some(file) = &what.svg {
        let picture = svg::draw(&order::chart(&instance, &plan));
        save::replace(file, picture.as_bytes(), save::OPEN).map_err(|error| {
            let message = format!("cannot write {}: {error}", file.display());
            Failure::new(Code::FileFailed, message).with_help("name a file that can be written")
        })?;
    }
    match &what.check {
        Some(file) => report(context, file, &check(&instance, &plan)),
        None => Ok(show(context, &instance, &plan)),
    }
}

fn make(instance: &Instance, what: &cli::PlanOrder) -> Result<Plan, Failure> {
    let strategy = match what.strategy {
        cli::Strategy::Auto => Strategy::Auto,
        cli::Strategy::Atomic => Strategy::Atomic,
        cli::Strategy::Stepwise => Strategy::Stepwise,
    };
    let options = Options {
        strategy,
        fill_budget: what.fill_budget,
    };
    plan(instance, &options).map_err(|error| match error {
        OrderError::Instance(error) => Failure::new(Code::InvalidArgument, error.to_string()),
        OrderError::DoesNotFit(shortfall) => does_not_fit(&shortfall),
    })
}

fn does_not_fit(shortfall: &Shortfall) -> Failure {
    let missing = shortfall.missing();
    let mut help = format!("free {missing} bytes ({}), or keep less", bytes(missing));
    if shortfall.atomic {
        help.push_str("; several steps need less: --strategy stepwise");
    }
    Failure::new(Code::NoSpace, shortfall.to_string()).with_help(help)
}

fn show(context: &mut Context, instance: &Instance, plan: &Plan) -> Exit {
    if context.json {
        context.terminal.json(plan);
    } else {
        let (style, utf8) = (context.terminal.out, context.terminal.utf8);
        let width = context.terminal.width();
        let lines = order::lines(instance, plan, width, utf8, style);
        context.terminal.lines(lines);
    }
    Exit::Done
}

fn report(context: &mut Context, file: &Path, wrong: &[String]) -> Outcome {
    if context.json {
        context.terminal.json(&wrong);
    } else if wrong.is_empty() {
        context.terminal.line("every claim of the plan is true");
    } else {
        context.terminal.lines(wrong.iter().map(|text| clean(text)));
    }
    if wrong.is_empty() {
        return Ok(Exit::Done);
    }
    context.complain(&malformed(file, "its claims are not true"), &[]);
    Ok(Exit::Findings)
}

/// Reads a JSON document from a file, or from standard input.
fn read<T: DeserializeOwned>(file: &Path) -> Result<T, Failure> {
    let source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(stdin().lock())
    } else {
        let opened = File::open(file).map_err(|error| malformed(file, &error.to_string()))?;
        Box::new(opened)
    };
    let reader = BufReader::with_capacity(1 << 16, source.take(LARGEST));
    serde_json::from_reader(reader).map_err(|error| malformed(file, &error.to_string()))
}

fn malformed(file: &Path, why: &str) -> Failure {
    let message = format!("cannot plan {}: {}", file.display(), clean(why));
    Failure::new(Code::InvalidArgument, message)
        .with_help("see docs/order.md for what an instance and a plan look like")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Global, PlanOrder};

    /// Two components of 10 bytes each; the second comes last.
    const COMPONENTS: &str = r#""paths":{"a":10,"b":10,"c":10,"d":10},"components":[
        {"id":"x","old":["a"],"new":["b"]},{"id":"y","old":["c"],"new":["d"],"final":true}]}"#;

    fn outcome(text: &str, what: PlanOrder) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("instance.json");
        std::fs::write(&file, text).unwrap();
        let mut context = Context::new(&Global {
            quiet: true,
            ..Global::default()
        });
        run(&mut context, &file, &what)
    }

    #[test]
    fn how_it_ends() {
        for (text, exit) in [
            (format!("{{{COMPONENTS}"), Exit::Done),
            (format!(r#"{{"budget":30,{COMPONENTS}"#), Exit::Done),
            (format!(r#"{{"budget":29,{COMPONENTS}"#), Exit::Refused),
            (format!(r#"{{"budgets":29,{COMPONENTS}"#), Exit::Usage),
            (COMPONENTS.to_owned(), Exit::Usage),
            (
                format!("{{{}", COMPONENTS.replace("\"d\":", "\"e\":")),
                Exit::Usage,
            ),
        ] {
            let exited = match outcome(&text, PlanOrder::default()) {
                Ok(exit) => exit,
                Err(failure) => failure.code.exit(),
            };
            assert_eq!(exited, exit, "{text}");
        }
        let gone = run(
            &mut Context::new(&Global::default()),
            Path::new("/no"),
            &PlanOrder::default(),
        );
        assert_eq!(gone.unwrap_err().code.exit(), Exit::Usage);
    }

    #[test]
    fn the_shortfall_is_exact() {
        let text = format!(r#"{{"budget":29,{COMPONENTS}"#);
        let failure = outcome(&text, PlanOrder::default()).unwrap_err();
        assert_eq!(
            failure.message,
            "cannot stay within 29 bytes: the best order found needs 30, 1 more; \
             no order needs less than 30, so none fits"
        );
        assert_eq!(failure.help, "free 1 bytes (1 B), or keep less");
    }

    #[test]
    fn a_plan_is_drawn_and_checked() {
        let folder = tempfile::tempdir().unwrap();
        let (svg, plan_file) = (folder.path().join("a.svg"), folder.path().join("plan.json"));
        let text = format!("{{{COMPONENTS}");
        let what = PlanOrder {
            svg: Some(svg.clone()),
            ..PlanOrder::default()
        };
        assert_eq!(outcome(&text, what), Ok(Exit::Done));
        assert!(
            std::fs::read_to_string(&svg)
                .unwrap()
                .contains(">step 2</text>")
        );

        let instance: Instance = serde_json::from_str(&text).unwrap();
        let mut plan = plan(&instance, &Options::default()).unwrap();
        for exit in [Exit::Done, Exit::Findings] {
            std::fs::write(&plan_file, serde_json::to_vec(&plan).unwrap()).unwrap();
            let what = PlanOrder {
                check: Some(plan_file.clone()),
                ..PlanOrder::default()
            };
            assert_eq!(outcome(&text, what), Ok(exit));
            plan.peak += 1;
        }
    }
}
