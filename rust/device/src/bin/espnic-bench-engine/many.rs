// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Many SAs against one, and what they take of memory.

use crate::bare::bare;
use crate::compare::{compare, Plan, Random, Row};
use crate::engines::{engine, Pair, Way};
use crate::packets::{self, Content, Kind};
use espnic_device::testing::ICV;
use espnic_wire::sa;

const LEN: usize = 1400;
const SEED: u64 = 0x0123_4567_89ab_cdef;

/// Which SA a packet has: (name, whether it is always the same one).
const CHOICES: [(&str, bool); 2] = [("random", false), ("one hot", true)];

/// The least ratio to one SA that is aimed at. With AVX-512 keys are larger, and the rest takes less time.
fn target(is_hot: bool) -> f64 {
    #[cfg(target_arch = "x86_64")]
    let is_wide = std::arch::is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    let is_wide = false;
    match (is_hot, is_wide) {
        (true, _) => 0.95,
        (false, true) => 0.7,
        (false, false) => 0.8,
    }
}

fn name(plan: &Plan, way: Way, choice: &str) -> String {
    let (way, sas) = (way.name(), plan.sas);
    format!("{way} {LEN} B, {sas} SAs, {choice} / 1 SA")
}

fn name_of_bare(plan: &Plan, way: Way) -> String {
    let (way, sas) = (way.name(), plan.sas);
    format!("bare {way} {LEN} B, {sas} keys, random / 1 key")
}

/// Many SAs against one. The engines with many come first; nothing, if nobody wants a row.
pub fn against_one_sa(plan: &Plan) -> Result<(Vec<Row>, Option<f64>), String> {
    let wanted = |way| {
        CHOICES
            .iter()
            .any(|choice| plan.wants(&name(plan, way, choice.0)))
    };
    if !Way::BOTH.into_iter().any(wanted) {
        return Ok((Vec::new(), None));
    }
    let kind = Kind::gcm(Content::Udp);
    let before = resident();
    let inbound = engine(plan, kind, sa::OBJ_INB_SA, plan.sas)?;
    let memory = resident().saturating_sub(before) as f64 / f64::from(plan.sas);
    let mut many = Pair::with_receiver(plan, kind, inbound, plan.sas)?;
    let mut one = Pair::new(plan, kind, 1)?;
    let mut rows = Vec::new();
    let hot = plan.sas / 2;
    for (choice, is_hot) in CHOICES {
        let mut random = Random(SEED);
        let mut choose = move || if is_hot { hot } else { random.below(plan.sas) };
        for way in Way::BOTH {
            rows.extend(compare(
                plan,
                name(plan, way, choice),
                Some(target(is_hot)),
                &mut || many.run(way, LEN, &mut choose),
                &mut || one.run(way, LEN, &mut || 0),
            ));
        }
    }
    Ok((rows, Some(memory)))
}

/// The library alone with many keys against one: the bound that memory sets for any engine.
pub fn many_keys(plan: &Plan) -> Result<Vec<Row>, String> {
    let wanted = |way| plan.wants(&name_of_bare(plan, way));
    if !Way::BOTH.into_iter().any(wanted) {
        return Ok(Vec::new());
    }
    let keys = || {
        let key = |id| plan.backend.aes_gcm(&packets::key(id), ICV);
        let keys: Result<Vec<_>, _> = (0..plan.sas).map(key).collect();
        keys.map_err(|error| error.to_string())
    };
    let (keys, others) = (keys()?, keys()?);
    let mut random = Random(SEED);
    let mut choose = || {
        let index = random.below(plan.sas) as usize;
        [&keys[index], &others[index]]
    };
    let row = |way: Way| {
        compare(
            plan,
            name_of_bare(plan, way),
            None,
            &mut || bare(LEN, way, &mut choose),
            &mut || bare(LEN, way, &mut || [&keys[0], &others[0]]),
        )
    };
    Ok(Way::BOTH.into_iter().filter_map(row).collect())
}

/// Resident bytes of this process; zero if they cannot be read.
pub fn resident() -> usize {
    let page = 4096;
    std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<usize>().ok())
        .unwrap_or(0)
        * page
}
