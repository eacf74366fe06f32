//! The matrix itself: large enough, without contradictions, and every label is one that the tool can give.

use std::collections::BTreeSet;

use super::*;
use crate::portal::FILES;

fn matrix() -> Vec<Scenario> {
    all().unwrap()
}

/// Where the application's faults are written.
fn python() -> String {
    let ends = |name: &str| std::path::Path::new(name).extension().is_some_and(|ending| ending == "py");
    FILES.iter().filter(|(name, _)| ends(name)).map(|(_, text)| *text).collect()
}

#[test]
fn it_is_large_and_nothing_is_there_twice() {
    let matrix = matrix();
    assert!(matrix.len() >= 60, "{}", matrix.len());
    let ids: BTreeSet<_> = matrix.iter().map(|s| &s.id).collect();
    assert_eq!(ids.len(), matrix.len());
    let quick = matrix.iter().filter(|s| s.quick).count();
    assert!((12..=32).contains(&quick), "{quick} do not fit into four minutes, or say too little");
}

#[test]
fn every_fault_has_a_handler() {
    let python = python();
    for scenario in matrix() {
        if let Some(path) = scenario.path(1) {
            // Clients that are the fault themselves ask for any page.
            let Some(handler) = path.strip_prefix("/fault/").and_then(|rest| rest.split('?').next()) else {
                assert!(scenario.client().is_some(), "{}: {path}", scenario.id);
                continue;
            };
            assert!(python.contains(&format!("def {handler}(")), "{}: {handler}", scenario.id);
        } else if let Some(outside) = scenario.outside() {
            assert!(outside != Outside::BootSlow || python.contains("\"boot_slow\""));
        } else {
            assert_eq!(scenario.fault, "none", "{}", scenario.id);
        }
    }
}

/// The list of faults and the matrix say the same where both speak.
#[test]
fn labels_are_those_of_the_list_of_faults() {
    for scenario in matrix().iter().filter(|s| s.limit == Limit::None) {
        let Some(fault) = scenario.listed() else { continue };
        let class = if scenario.stack == Stack::Builtin { "builtin" } else { &scenario.class };
        let listed = fault.expected_of(class);
        let label = crate::diagnose::ladder::code_name(scenario.expected[0]);
        assert_eq!(listed, Some(label.as_str()), "{}", scenario.id);
        let finer = [fault.subcause].into_iter().filter(|cause| !cause.is_empty());
        assert!(
            finer.into_iter().all(|cause| scenario.subcause.iter().any(|s| s == cause)),
            "{}",
            scenario.id
        );
        let sets: &[Set] = match fault.set {
            faults::Set::First => &[Set::Tune],
            faults::Set::Second => &[Set::HeldOut],
            faults::Set::Third => &[Set::Third],
            faults::Set::Control => &[Set::HeldOut, Set::Third],
        };
        assert!(sets.contains(&scenario.set), "{}", scenario.id);
    }
}

#[test]
fn each_family_is_tuned_on_and_each_code_is_asked_for() {
    let matrix = matrix();
    let of =
        |set| matrix.iter().filter(move |s| s.set == set).map(|s| s.family.as_str()).collect::<BTreeSet<_>>();
    let (tune, held_out) = (of(Set::Tune), of(Set::HeldOut));
    // What is no second implementation of anything is a kind of its own, that nothing was ever tuned on.
    let new = |family: &str| faults::by_name(family).is_some_and(|f| f.set != faults::Set::First);
    assert!(held_out.iter().all(|family| tune.contains(family) || new(family)), "{held_out:?}");
    assert!(held_out.intersection(&tune).count() >= 8, "{held_out:?}");
    let third = of(Set::Third);
    let before = |family: &str| tune.contains(family) || held_out.contains(family);
    assert!(third.iter().all(|family| before(family) || new(family)), "{third:?}");
    assert!(third.iter().filter(|family| before(family)).count() >= 12, "{third:?}");
    let codes: BTreeSet<Code> = matrix.iter().map(|s| s.expected[0]).collect();
    assert!(codes.len() >= 15, "{codes:?}");
    assert!(codes.iter().all(|c| !matches!(c, Code::ArbiterNormal | Code::ArbiterFault)));
    let quick: BTreeSet<Code> = matrix.iter().filter(|s| s.quick).map(|s| s.expected[0]).collect();
    assert!(quick.len() >= 12, "{quick:?}");
}

#[test]
fn every_subcause_is_one_that_a_rule_says() {
    let rules = concat!(
        include_str!("../diagnose/activity.rs"),
        include_str!("../diagnose/rules/waiting.rs"),
        include_str!("../diagnose/rules/hot_spin.rs"),
        include_str!("../diagnose/rules/blocked_on_cpu.rs"),
        include_str!("../diagnose/rules/gil_contention.rs"),
        include_str!("../diagnose/rules/cpu_starved.rs"),
        include_str!("../diagnose/rules/not_running.rs"),
    );
    for scenario in matrix() {
        for subcause in &scenario.subcause {
            assert!(rules.contains(&format!("\"{subcause}\"")), "{}: {subcause}", scenario.id);
        }
    }
}

#[test]
fn nonsense_is_refused() {
    let good = r#"
        [[scenario]]
        id = "modern-gevent-none"
        class = "gevent"
        stack = "modern"
        fault = "none"
        expected = ["idle"]
        effect = "none"
        family = "idle"
        set = "tune"
        control = true
    "#;
    assert_eq!(parse(good).unwrap().len(), 1);
    for (from, to) in [
        ("id = \"modern-gevent-none\"", "id = \"a.b\""),
        ("\"idle\"]", "\"idel\"]"),
        ("[\"idle\"]", "[]"),
        ("[\"idle\"]", "[\"unknown\"]"),
        ("control = true", "control = false"),
        ("effect = \"none\"", "effect = \"spin\""),
        ("fault = \"none\"", "fault = \"unheard_of\""),
        ("family", "famly"),
        ("control = true", "control = true\nworkers = 0"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good);
        assert!(parse(&bad).is_err(), "{to}");
    }
    let error = parse(&format!("{good}{good}")).unwrap_err();
    assert!(error.cause.contains("twice"), "{error:?}");
}

#[test]
fn a_capture_is_known_by_the_beginning_of_its_name() {
    assert_eq!(Scenario::id_of("modern-gevent-none.idle.cap"), "modern-gevent-none");
    assert_eq!(Scenario::id_of("modern-gevent-none.2.proven.cap"), "modern-gevent-none");
}
