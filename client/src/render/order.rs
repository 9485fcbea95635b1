//! The plan of an abstract instance: a summary, the steps, and the disk use of each.

use nixctl_planner::order::{Instance, Plan, Step};

use super::chart::{self, Bar, Chart};
use super::style::Style;
use super::table;
use super::text::{bytes, clean, counted};

/// Columns where no terminal says how many there are.
const WIDTH: usize = 80;

/// Lines of a plan.
pub fn lines(
    instance: &Instance,
    plan: &Plan,
    width: Option<usize>,
    utf8: bool,
    style: Style,
) -> Vec<String> {
    let mut lines = vec![style.bold(&summary(plan)), quality(plan)];
    lines.extend(instance.budget.map(|budget| spare(plan, budget)));
    if plan.steps.is_empty() {
        return lines;
    }
    lines.push(String::new());
    let rows: Vec<Vec<String>> = (1..)
        .zip(&plan.steps)
        .map(|(n, step)| row(n, step))
        .collect();
    let head = ["STEP", "FETCH", "PEAK", "RELEASE", "AFTER", "COMPONENTS"];
    lines.extend(table::lines(&head, &rows, width));
    lines.push(String::new());
    let chart = chart(instance, plan);
    lines.extend(chart::lines(&chart, width.unwrap_or(WIDTH), utf8, style));
    lines
}

/// What is on the disk before the first step and in each.
pub fn chart(instance: &Instance, plan: &Plan) -> Chart {
    let mut bars = Vec::with_capacity(plan.steps.len() + 1);
    bars.extend(plan.steps.first().map(|step| Bar {
        label: "now".to_owned(),
        stays: before(instance, step),
        goes: 0,
    }));
    bars.extend((1..).zip(&plan.steps).map(|(number, step)| Bar {
        label: format!("step {number}"),
        stays: step.bytes_after,
        goes: step.bytes_before_release.saturating_sub(step.bytes_after),
    }));
    Chart {
        title: summary(plan),
        bars,
        budget: instance.budget,
    }
}

fn summary(plan: &Plan) -> String {
    let steps = counted(plan.steps.len(), "step");
    let peak = bytes(plan.peak);
    match plan.steps.last().map(|step| step.bytes_after) {
        Some(end) if end > 0 => {
            let times = plan.peak as f64 / end as f64;
            format!("{steps}, at most {peak} on the disk: {times:.2} x what is there at the end")
        }
        _ => format!("{steps}, at most {peak} on the disk"),
    }
}

fn quality(plan: &Plan) -> String {
    if plan.optimal {
        "no plan needs less".to_owned()
    } else {
        let bound = bytes(plan.lower_bound);
        let above = 100.0 * plan.gap();
        format!("no plan needs less than {bound}; this one is {above:.1} % above that")
    }
}

fn spare(plan: &Plan, budget: u64) -> String {
    let spare = bytes(budget.saturating_sub(plan.peak));
    format!("the budget is {}: {spare} of it stay free", bytes(budget))
}

fn row(number: usize, step: &Step) -> Vec<String> {
    let released = step.bytes_before_release.saturating_sub(step.bytes_after);
    vec![
        number.to_string(),
        counted(step.add.len(), "path"),
        bytes(step.bytes_before_release),
        bytes(released),
        bytes(step.bytes_after),
        changes(step),
    ]
}

fn changes(step: &Step) -> String {
    let named = |ids: &[String]| format!("{}: {}", ids.len(), clean(&ids.join(" ")));
    match step.stop.is_empty() {
        true => named(&step.flip),
        false => format!("stop {}", named(&step.stop)),
    }
}

/// Bytes before a step.
fn before(instance: &Instance, step: &Step) -> u64 {
    let paths = step.add.iter().filter_map(|name| instance.find(name));
    let fetched: u64 = paths.map(|path| instance.bytes(path)).sum();
    step.bytes_before_release.saturating_sub(fetched)
}

#[cfg(test)]
mod tests {
    use nixctl_planner::order::{Component, Options, plan};

    use super::*;

    fn instance(budget: Option<u64>) -> Instance {
        let mut instance = Instance::default();
        for (id, size) in [("web", 2048), ("base\u{1b}", 1024)] {
            let old = instance.path(&format!("{id}-old"), size);
            let new = instance.path(&format!("{id}-new"), size);
            instance.components.push(Component {
                id: id.to_owned(),
                old: vec![old],
                new: vec![new],
                ..Component::default()
            });
        }
        instance.budget = budget;
        instance
    }

    #[test]
    fn a_plan_in_steps() {
        let instance = instance(Some(5500));
        let plan = plan(&instance, &Options::default()).unwrap();
        assert_eq!(
            lines(&instance, &plan, Some(60), true, Style::PLAIN),
            [
                "2 steps, at most 5.0 KiB on the disk: 1.67 x what is there at the end",
                "no plan needs less",
                "the budget is 5.4 KiB: 380 B of it stay free",
                "",
                "STEP  FETCH   PEAK     RELEASE  AFTER    COMPONENTS",
                "1     1 path  5.0 KiB  2.0 KiB  3.0 KiB  1: web",
                "2     1 path  4.0 KiB  1.0 KiB  3.0 KiB  1: base\u{fffd}",
                "",
                "   now  ████████████████████████                  │  3.0 KiB",
                "step 1  ████████████████████████▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒  │  5.0 KiB",
                "step 2  ████████████████████████▒▒▒▒▒▒▒▒          │  4.0 KiB",
                "                                     budget 5.4 KiB",
            ]
        );
    }

    #[test]
    fn nothing_to_do() {
        let instance = Instance::default();
        let plan = plan(&instance, &Options::default()).unwrap();
        assert_eq!(
            lines(&instance, &plan, None, true, Style::PLAIN),
            ["0 steps, at most 0 B on the disk", "no plan needs less"]
        );
        assert!(chart(&instance, &plan).bars.is_empty());
    }
}
