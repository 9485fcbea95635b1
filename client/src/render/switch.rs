//! The plan of a switch: packages, what happens to which unit and why, the disk in each step.

use nixctl_proto::plan::{Plan, PlanCheck, SpaceView, SwitchStepView, SwitchView, UnitsView};
use nixctl_proto::{Failure, OperationKind};
use serde::Serialize;

use super::chart::{self, Bar, Chart};
use super::style::Style;
use super::text::{bytes, clean, counted, cut};
use super::{diff, plan, table};

/// Columns where no terminal says how many there are.
const WIDTH: usize = 80;
/// Most packages, components of a step and deferred components that are shown without being asked.
const MOST: usize = 20;
/// Most columns of the words on what a step changes, where no terminal says how many there are.
const WORDS: usize = 60;

/// The plan as a JSON document: the switch's own part first, as `docs/switch.md` has it.
#[derive(Debug, Serialize)]
pub struct Document<'a> {
    kind: OperationKind,
    title: &'a str,
    #[serde(flatten)]
    switch: &'a SwitchView,
    checks: &'a [PlanCheck],
    notes: &'a [String],
    bytes_needed: u64,
    inodes_needed: u64,
    refusal: Option<&'a Failure>,
}

impl<'a> Document<'a> {
    /// The document of a plan that has such a part.
    pub fn new(plan: &'a Plan) -> Option<Document<'a>> {
        Some(Document {
            kind: plan.kind,
            title: &plan.title,
            switch: plan.switch.as_deref()?,
            checks: &plan.checks,
            notes: &plan.notes,
            bytes_needed: plan.bytes_needed,
            inodes_needed: plan.inodes_needed,
            refusal: plan.refusal(),
        })
    }
}

/// How it is shown.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Everything, not only the most important.
    pub detailed: bool,
    /// Columns, where they are known.
    pub width: Option<usize>,
    /// Whether more than ASCII can be shown.
    pub utf8: bool,
    /// Colours.
    pub style: Style,
}

/// Lines of a plan that has such a part.
pub fn lines(plan: &Plan, view: &SwitchView, look: Look) -> Vec<String> {
    let style = look.style;
    let mut lines = vec![style.bold(&clean(&plan.title))];
    section(&mut lines, style, "packages", packages(view, look));
    section(&mut lines, style, "units", units(view, look));
    section(
        &mut lines,
        style,
        "disk",
        disk(&view.space, view.steps.len()),
    );
    lines.extend(steps(view, look));
    section(
        &mut lines,
        style,
        &style.warning("down for a while"),
        downtime(view, look),
    );
    section(
        &mut lines,
        style,
        "only in the last step",
        deferred(view, look),
    );
    let reboot = view.reboot.iter().map(|why| clean(why)).collect();
    section(
        &mut lines,
        style,
        &style.warning("a reboot is needed"),
        reboot,
    );
    if plan.is_empty() && view.steps.is_empty() {
        lines.push("  nothing to do".to_owned());
    } else if look.detailed {
        lines.push(String::new());
        lines.extend(plan::steps(plan, true, style));
        lines.extend(plan::passed(plan));
    }
    // Why a reboot is needed stands above.
    let mut rest = plan.clone();
    let said = |note: &String| view.reboot.iter().any(|why| note.ends_with(why.as_str()));
    rest.notes.retain(|note| !said(note));
    if !view.steps.is_empty() && !rest.notes.is_empty() {
        lines.push(String::new());
    }
    lines.extend(plan::notes(&rest, style));
    lines
}

/// The disk in each step.
pub fn chart(view: &SwitchView) -> Chart {
    let mut bars = Vec::with_capacity(view.steps.len() + 1);
    bars.extend(view.steps.first().map(|first| Bar {
        label: "now".to_owned(),
        stays: view.space.now.min(first.bytes_before_release),
        goes: 0,
    }));
    bars.extend((1..).zip(&view.steps).map(|(number, step)| Bar {
        label: format!("step {number}"),
        stays: step.bytes_after,
        goes: step.bytes_before_release.saturating_sub(step.bytes_after),
    }));
    Chart {
        title: summary(&view.space, view.steps.len()),
        bars,
        budget: view.space.budget,
    }
}

/// A heading and what is below it, unless that is nothing.
fn section(lines: &mut Vec<String>, style: Style, heading: &str, content: Vec<String>) {
    if content.is_empty() {
        return;
    }
    lines.push(String::new());
    lines.push(format!("{}:", style.bold(heading)));
    lines.extend(content.into_iter().map(|line| format!("  {line}")));
}

fn packages(view: &SwitchView, look: Look) -> Vec<String> {
    if view.diff.is_empty() {
        return Vec::new();
    }
    let most = (!look.detailed).then_some(MOST);
    diff::lines(&view.diff, most, inner(look), look.style)
}

/// Columns inside of a section; with everything asked for, nothing is cut.
fn inner(look: Look) -> Option<usize> {
    let width = look.width.filter(|_| !look.detailed);
    width.map(|width| width.saturating_sub(2))
}

/// What happens to units, and why.
fn units(view: &SwitchView, look: Look) -> Vec<String> {
    let UnitsView {
        stop,
        reload,
        restart,
        start,
        skip,
    } = &view.units;
    // What is stopped and started again is one thing to people.
    let (again, gone): (Vec<String>, Vec<String>) =
        stop.iter().cloned().partition(|name| start.contains(name));
    let fresh: Vec<String> = start
        .iter()
        .filter(|it| !again.contains(*it))
        .cloned()
        .collect();
    let mut rows = Vec::new();
    for (word, names) in [
        ("stop", &gone),
        ("reload", reload),
        ("restart", restart),
        ("stop, start", &again),
        ("start", &fresh),
        ("leave", skip),
    ] {
        for name in names {
            let reason = view.reasons.get(name).map(|text| clean(text));
            rows.push(vec![
                word.to_owned(),
                clean(name),
                reason.unwrap_or_default(),
            ]);
        }
    }
    if rows.is_empty() && !view.steps.is_empty() {
        return vec![look.style.dim("none is touched")];
    }
    table::lines(&["", "", ""], &rows, inner(look))
}

/// What the disk has to hold.
fn disk(space: &SpaceView, count: usize) -> Vec<String> {
    if count == 0 {
        return Vec::new();
    }
    let mut lines = vec![summary(space, count), quality(space)];
    if count > 1 {
        lines.push(format!("at once it would be {}", bytes(space.atomic_peak)));
    }
    lines.extend(space.budget.map(|budget| {
        let given = format!("the budget is {}", bytes(budget));
        match (
            budget.checked_sub(space.peak),
            space.peak.checked_sub(budget),
        ) {
            (Some(spare), _) => format!("{given}: {} of it stay free", bytes(spare)),
            (_, missing) => format!("{given}: {} are missing", bytes(missing.unwrap_or(0))),
        }
    }));
    lines.push(format!("{} are free now", bytes(space.free)));
    lines
}

/// `14 steps, at most 5.2 GiB of the store: 1.14 x what is there at the end`
fn summary(space: &SpaceView, count: usize) -> String {
    let steps = counted(count, "step");
    let peak = bytes(space.peak);
    if space.new == 0 {
        return format!("{steps}, at most {peak} of the store");
    }
    let times = space.peak as f64 / space.new as f64;
    format!("{steps}, at most {peak} of the store: {times:.2} x the new system")
}

fn quality(space: &SpaceView) -> String {
    if space.optimal {
        return "no order of the steps needs less".to_owned();
    }
    let bound = bytes(space.lower_bound);
    let above = space.peak.saturating_sub(space.lower_bound) as f64;
    let percent = 100.0 * above / space.lower_bound.max(1) as f64;
    format!("no order needs less than {bound}; this one is {percent:.1} % above that")
}

/// The table of the steps and the chart.
fn steps(view: &SwitchView, look: Look) -> Vec<String> {
    if view.steps.is_empty() {
        return Vec::new();
    }
    let words = match (look.detailed, look.width) {
        (false, None) => WORDS,
        _ => usize::MAX,
    };
    let rows: Vec<Vec<String>> = (1..)
        .zip(&view.steps)
        .map(|(number, step)| row(number, step, words))
        .collect();
    let head = ["STEP", "FETCH", "HIGHEST", "RELEASE", "AFTER", "CHANGES"];
    let mut lines = vec![String::new()];
    lines.extend(table::lines(&head, &rows, look.width));
    lines.push(String::new());
    let width = look.width.unwrap_or(WIDTH);
    lines.extend(chart::lines(&chart(view), width, look.utf8, look.style));
    lines
}

fn row(number: usize, step: &SwitchStepView, words: usize) -> Vec<String> {
    let released = step.bytes_before_release.saturating_sub(step.bytes_after);
    vec![
        number.to_string(),
        counted(step.add.len(), "path"),
        bytes(step.bytes_before_release),
        bytes(released),
        bytes(step.bytes_after),
        cut(&clean(&changes(step)), words, "..."),
    ]
}

/// What a step changes; what it stops, first.
fn changes(step: &SwitchStepView) -> String {
    let flip = step.flip.join(" ");
    match step.stop.is_empty() {
        true => flip,
        false => format!("stop {} {flip}", step.stop.join(" "))
            .trim_end()
            .to_owned(),
    }
}

/// What is down, from which step to which, and what comes meanwhile.
fn downtime(view: &SwitchView, look: Look) -> Vec<String> {
    let rows: Vec<Vec<String>> = view
        .downtime
        .iter()
        .map(|down| {
            let what = match down.units.is_empty() {
                true => down.id.clone(),
                false => down.units.join(" "),
            };
            vec![
                clean(&what),
                format!("steps {} to {}", down.from, down.to),
                format!("{} to fetch", bytes(down.bytes)),
                format!("at least {} s", down.seconds),
            ]
        })
        .collect();
    table::lines(&["", "", "", ""], &rows, inner(look))
}

/// What cannot be changed by itself, and why.
fn deferred(view: &SwitchView, look: Look) -> Vec<String> {
    if view.steps.len() < 2 {
        return Vec::new();
    }
    let most = if look.detailed { usize::MAX } else { MOST };
    let rows: Vec<Vec<String>> = view
        .deferred
        .iter()
        .take(most)
        .map(|(name, why)| vec![clean(name), clean(why)])
        .collect();
    let mut lines = table::lines(&["", ""], &rows, inner(look));
    if rows.len() < view.deferred.len() {
        let more = counted(view.deferred.len() - rows.len(), "component");
        lines.push(
            look.style
                .dim(&format!("and {more} more (all with --verbose)")),
        );
    }
    lines
}

#[cfg(test)]
#[path = "switch_tests.rs"]
pub mod tests;
