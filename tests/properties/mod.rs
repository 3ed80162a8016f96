//! Properties of the planner on simulated hosts: any state converges to any other, a second plan is empty, and any
//! failure can be rolled back, continued from, and cleaned up.

#![allow(clippy::unwrap_used, reason = "what a test cannot make ends it")]

mod damage;
mod labs;
#[path = "../support/simulated/mod.rs"]
pub(crate) mod simulated;

use std::collections::BTreeSet;

use netlab::host::Host;
use netlab::lab::IfName;
use netlab::plan::{Plan, Step, plan};
use netlab::state::Site;
use proptest::prelude::*;
use proptest::sample::Index;

use damage::{damage, damaged, possible};
use simulated::{SimulatedSite, When};

/// Runs a plan as the executor does: a stage goes to its end on every host, an error ends the run after it.
fn run(site: &SimulatedSite, plan: &Plan) -> Result<(), String> {
    let lab = "lab".parse().unwrap();
    for (stage, hosts) in &plan.stages {
        let mut errors = Vec::new();
        for (host, steps) in hosts {
            let result = site.host(host).apply(&lab, steps, &());
            errors.extend(
                result
                    .err()
                    .into_iter()
                    .flatten()
                    .map(|error| format!("{host}: {error}")),
            );
        }
        if !errors.is_empty() {
            return Err(format!("{stage:?}: {errors:#?}"));
        }
    }
    Ok(())
}

/// Brings the world to `to` without any error, and sees that it is there and that nothing remains to be done.
fn converge(world: &SimulatedSite, to: &Site) -> Result<(), TestCaseError> {
    let steps = plan(&world.observe(), to);
    let result = run(world, &steps);
    prop_assert!(result.is_ok(), "{}\n{:#?}", result.unwrap_err(), lines(&steps));
    prop_assert_eq!(&world.observe(), to);
    let rest = plan(&world.observe(), to);
    prop_assert!(rest.is_empty(), "still to do: {:#?}", lines(&rest));
    Ok(())
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.steps().map(|(host, step)| format!("{host}: {step}")).collect()
}

/// A lab in any state in which it can be found, and one in any state that can be asked for: as often another state of
/// the same lab, where most things stay, as another lab, where hardly any does.
fn found_and_wanted() -> impl Strategy<Value = (Site, Site)> {
    let other = prop::option::of(labs::site());
    (labs::site(), other, damage(), damage()).prop_map(|(site, other, before, after)| {
        let wanted = damaged(other.unwrap_or_else(|| site.clone()), &after);
        (damaged(site, &before), possible(wanted))
    })
}

fn found() -> impl Strategy<Value = Site> {
    found_and_wanted().prop_map(|(found, _)| found)
}

fn wanted() -> impl Strategy<Value = Site> {
    found_and_wanted().prop_map(|(_, wanted)| wanted)
}

fn world(site: &Site) -> SimulatedSite {
    SimulatedSite::new(site.clone(), labs::emulated())
}

fn when() -> impl Strategy<Value = When> {
    prop::sample::select(vec![When::Before, When::After])
}

/// Runs into a failure at a step picked by `at`; without any step there is nothing to fail.
fn run_into_failure(world: &SimulatedSite, to: &Site, at: Index, when: When) -> Result<(), TestCaseError> {
    let plan = plan(&world.observe(), to);
    let steps = plan.steps().count();
    if steps > 0 {
        world.fail_after(at.index(steps), when);
        prop_assert!(run(world, &plan).is_err(), "the failure did not strike");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1024) })]

    #[test]
    fn any_state_converges_to_any_other_and_then_nothing_is_to_be_done((from, to) in found_and_wanted()) {
        converge(&world(&from), &to)?;
    }

    #[test]
    fn a_lab_comes_down_from_any_state(from in found()) {
        converge(&world(&from), &Site::new())?;
    }

    #[test]
    fn a_plan_to_where_one_is_is_empty(site in wanted()) {
        prop_assert!(plan(&site, &site).is_empty(), "{:#?}", lines(&plan(&site, &site)));
    }

    #[test]
    fn a_failed_run_is_rolled_back_to_the_state_before(
        (before, to) in found_and_wanted(), at in any::<Index>(), when in when(),
    ) {
        let before = possible(before);
        let world = world(&before);
        run_into_failure(&world, &to, at, when)?;
        converge(&world, &before)?;
    }

    #[test]
    fn a_failed_run_is_continued_or_cleaned_up(
        (from, to) in found_and_wanted(), at in any::<Index>(), when in when(),
    ) {
        let world = world(&from);
        run_into_failure(&world, &to, at, when)?;
        converge(&world, &to)?;
        run_into_failure(&world, &Site::new(), at, when)?;
        converge(&world, &Site::new())?;
    }

    #[test]
    fn the_same_sites_give_the_same_plan_also_when_read_back_from_a_file((from, to) in found_and_wanted()) {
        let reread = |site: &Site| -> Site { serde_json::from_slice(&serde_json::to_vec(site).unwrap()).unwrap() };
        let first = plan(&from, &to);
        prop_assert_eq!(&plan(&reread(&from), &reread(&to)), &first);
        let written = serde_json::to_vec(&first).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Plan>(&written).unwrap(), first);
    }

    #[test]
    fn a_guest_that_comes_or_goes_concerns_no_other(site in wanted()) {
        let guests = site.iter().flat_map(|(host, state)| state.domains.keys().map(move |name| (host, name)));
        for (host, name) in guests {
            let mut without = site.clone();
            let state = without.get_mut(host).unwrap();
            let taps = state.domains.remove(name).unwrap().nics.into_iter().map(|nic| nic.tap);
            let taps: BTreeSet<IfName> = taps.collect();
            for links in state.shaped.values_mut() {
                links.retain(|link, _| !taps.contains(link));
            }
            state.shaped.retain(|_, links| !links.is_empty());
            state.volumes.remove(name);
            state.disks.retain(|disk, _| disk.domain() != name);
            for (on, step) in plan(&without, &site).steps().chain(plan(&site, &without).steps()) {
                let concerns = on == host && match step {
                    Step::Shape(_, link, _) | Step::Unshape(_, link, _) => taps.contains(link),
                    _ => step.to_string().contains(name.vm().as_str()),
                };
                prop_assert!(concerns, "{on}: {step}");
            }
        }
    }
}
