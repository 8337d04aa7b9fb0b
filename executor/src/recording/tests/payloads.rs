//! Payload bytes from a seed.

use super::*;

fn shipped_plan(name: &str) -> Plan {
    Plan::new(&Recording::shipped(name).unwrap(), &PlanLimits::default())
}

fn digest(plan: &Plan, payloads: &Payloads) -> u64 {
    let mut digest = Digest::new();
    for step in plan.steps() {
        digest.push_command(0, payloads.inline(step), payloads.bulk(step));
    }
    digest.value()
}

#[test]
fn every_step_gets_as_many_bytes_as_it_carries() {
    for name in ["llama-1b-eager-decode", "mlp-train", "mlp-cuda-graph"] {
        let plan = shipped_plan(name);
        let payloads = Payloads::new(1, &plan);
        for step in plan.steps() {
            assert_eq!(payloads.inline(step).len(), step.step.inline_bytes());
            assert_eq!(payloads.bulk(step).len(), step.step.h2d_bytes());
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_gives_others() {
    let plan = shipped_plan("mlp-train");
    let of = |seed| digest(&plan, &Payloads::new(seed, &plan));
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
}

#[test]
fn every_row_has_bytes_of_its_own() {
    let plan = shipped_plan("llama-1b-eager-decode");
    let payloads = Payloads::new(1, &plan);
    let launches = || plan.steps().iter().filter(|step| step.step.inline_bytes() >= 16);
    let distinct: HashSet<_> = launches().map(|step| &payloads.inline(step)[..16]).collect();
    assert_eq!(distinct.len(), launches().count());
}

#[test]
fn bulk_payloads_of_equal_size_differ() {
    let rows = "0,0,cudaMemcpy,post,48,65536,h2d\n".repeat(500);
    let plan = plan_of(&rows);
    let payloads = Payloads::new(1, &plan);
    let distinct: HashSet<_> = plan.steps().iter().map(|s| payloads.bulk(s)).collect();
    assert_eq!(distinct.len(), 500);
}

#[test]
fn pieces_of_one_copy_differ_and_the_buffer_stays_below_its_limit() {
    let recording = parse_rows("0,0,cudaMemcpy,post,48,200000000,h2d\n").unwrap();
    let limits = PlanLimits { piece_bytes_max: 1 << 20, ..PlanLimits::default() };
    let plan = Plan::new(&recording, &limits);
    let payloads = Payloads::new(1, &plan);
    let distinct: HashSet<_> = plan.steps().iter().map(|s| &payloads.bulk(s)[..64]).collect();
    assert_eq!(distinct.len(), plan.steps().len());
    assert!(payloads.generated_bytes() < 201_000_000);
}

#[test]
fn a_step_of_another_plan_gets_nothing_rather_than_a_panic() {
    let small = plan_of("0,0,a,post,8,0,-\n");
    let large = plan_of("0,0,a,post,100000,0,-\n0,0,cudaMemcpy,post,48,9000000,h2d\n");
    let payloads = Payloads::new(1, &small);
    assert!(payloads.inline(&large.steps()[0]).is_empty());
    assert!(payloads.bulk(&large.steps()[1]).is_empty());
}
