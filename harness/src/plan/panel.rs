//! The plan of a panel: blocks are dealt to the trainers, and every evaluator reads what is evaluated.

use std::collections::BTreeMap;

use manager::Window;

use super::{Step, blocks, deal};
use crate::history::{Actor, Role};
use crate::scenario::Scenario;
use crate::seed::Seed;

/// The steps of one window, by actor: training, and evaluation.
pub(super) fn steps(
    scenario: &Scenario,
    window: &Window,
    seed: Seed,
    trainers: &[Actor],
    evaluators: &[Actor],
) -> (BTreeMap<String, Vec<Step>>, BTreeMap<String, Vec<Step>>) {
    let length = scenario.windows.block_sessions;
    let evaluated = blocks(&window.eval, length);
    let mut things: Vec<(u32, bool)> =
        blocks(&window.train, length).into_iter().map(|block| (block, false)).collect();
    let mut prng = seed.stream(&format!("plan/{}/{}", Role::Training, window.id));
    prng.shuffle(&mut things);
    // What comes new takes the longest, so it is begun first.
    things.splice(0..0, evaluated.iter().map(|block| (*block, true)));
    let training = deal(trainers, &things, |(block, is_new)| {
        let blocks = vec![block];
        vec![if is_new { Step::Prepare { blocks } } else { Step::Panels { blocks } }]
    });
    let read = |actor: &Actor| (actor.id.clone(), vec![Step::Read { blocks: evaluated.clone() }]);
    (training, evaluators.iter().map(read).collect())
}
