//! A switch planned and carried out with a real Nix, from a cache to a store that never had it.

use nixctl_proto::request::Strategy;

use crate::catalogue::Planned;
use crate::engine::Step;
use crate::resource::Undone;
use crate::switch::carry::{Carry, Machine};
use crate::switch::plan;
use crate::switch::real::testing::Switch;
use crate::switch::step::SwitchStep;

fn planned(switch: &Switch, strategy: Strategy) -> Planned {
    let facts = switch.facts(Some("file:///cache"), strategy);
    plan::plan(&facts.unwrap()).unwrap()
}

/// Carries a plan out; what runs is a link.
fn carry_out(switch: &Switch, planned: &Planned) {
    let (real, context) = (&switch.real, switch.real.context());
    for step in &planned.steps {
        let Step::Switch(step) = &step.step else {
            panic!("{step:?}");
        };
        match &**step {
            SwitchStep::Activate(it) => {
                let to = it.to.resolve(&real.host.fs, &it.roots).unwrap();
                real.link("/run/current-system", &to);
            }
            SwitchStep::Prove(_) => {}
            step => {
                let undo = Machine.prepare(step, &context).unwrap();
                let done = Machine.apply(step, &context, &undo);
                let done = done.unwrap_or_else(|error| panic!("{step:?}: {error:?}"));
                assert_eq!(done, Undone::Clean, "{step:?}");
                Machine.sync(step, &real.host).unwrap();
                let default = real.default_path();
                real.store().complete("test", &default, false).unwrap();
            }
        }
    }
}

#[test]
fn a_generation_in_a_cache_is_planned_and_reached() {
    for strategy in [Strategy::Atomic, Strategy::Stepwise] {
        let Some(switch) = Switch::new() else { return };
        let planned = planned(&switch, strategy);
        assert_eq!(planned.view.refusal(), None, "{:?}", planned.view.checks);
        let view = planned.view.switch.as_deref().unwrap();
        assert_eq!(
            view.space.strategy == "stepwise",
            strategy == Strategy::Stepwise,
            "{view:?}"
        );
        carry_out(&switch, &planned);
        let new = &switch.new["toplevel"];
        assert_eq!(&switch.real.default_path(), new);
        let content = switch.real.content();
        assert!(switch.new.values().all(|path| content.contains(path)));
        if strategy == Strategy::Stepwise {
            let left: Vec<_> = switch
                .old
                .iter()
                .filter(|(part, path)| content.contains(*path) && switch.new[*part] != **path)
                .collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }
}
