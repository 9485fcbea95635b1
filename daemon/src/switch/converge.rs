//! How far a switch has come, counted in components. Pure.

use nixctl_proto::plan::SwitchView;

/// How far the machine is on its way to the target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Convergence {
    /// Components that are the target's, proven, and the default of the next boot.
    pub done: usize,
    /// Components that differ in all.
    pub all: usize,
    /// Generations that will be made on the way, the target's among them.
    pub defaults_left: usize,
    /// What is waited for.
    pub waiting: Option<String>,
}

impl Convergence {
    /// After so many of `defaults` generations became the default. Each one ends a step of the disk
    /// plan.
    pub fn after(view: Option<&SwitchView>, ended: usize, defaults: usize) -> Self {
        let flips = |steps: usize| -> usize {
            let steps = view.iter().flat_map(|view| view.steps.iter().take(steps));
            steps.map(|step| step.flip.len()).sum()
        };
        let all = flips(usize::MAX);
        Convergence {
            done: if ended >= defaults { all } else { flips(ended) },
            all,
            defaults_left: defaults.saturating_sub(ended),
            waiting: None,
        }
    }

    /// The share that is reached, 0 to 1.
    pub fn share(&self) -> f64 {
        match (self.all, self.defaults_left) {
            (0, 0) => 1.0,
            (0, _) => 0.0,
            (all, _) => self.done as f64 / all as f64,
        }
    }
}

impl std::fmt::Display for Convergence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} components", self.done, self.all)?;
        match &self.waiting {
            Some(reason) => write!(f, ", waiting: {reason}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use nixctl_proto::plan::SwitchStepView;

    use super::*;

    #[test]
    fn each_default_counts_the_components_of_its_step() {
        let step = |flip: &[&str]| SwitchStepView {
            flip: flip.iter().map(|&id| id.to_owned()).collect(),
            ..SwitchStepView::default()
        };
        let view = SwitchView {
            steps: vec![step(&["a", "b"]), step(&["c"]), step(&["final"])],
            ..SwitchView::default()
        };
        let at = |ended| Convergence::after(Some(&view), ended, 3);
        for (ended, text, share) in [
            (0, "0 of 4 components", 0.0),
            (1, "2 of 4 components", 0.5),
            (2, "3 of 4 components", 0.75),
            (3, "4 of 4 components", 1.0),
        ] {
            assert_eq!(at(ended).to_string(), text);
            assert_eq!(at(ended).share(), share);
        }
        let waiting = Convergence {
            waiting: Some("needs 83 MiB more on /nix".to_owned()),
            ..at(1)
        };
        assert_eq!(
            waiting.to_string(),
            "2 of 4 components, waiting: needs 83 MiB more on /nix"
        );
        assert_eq!(Convergence::after(None, 0, 1).share(), 0.0);
        assert_eq!(Convergence::after(None, 1, 1).share(), 1.0);
    }
}
