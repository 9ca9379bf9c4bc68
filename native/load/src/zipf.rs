//! Zipf-distributed pairs of accounts, drawn before the clock starts.
//!
//! Sampling costs a search of the cumulative distribution; the loop reads a
//! table of drawn pairs in order instead, which the processor prefetches.

use crate::random::Random;
use std::rc::Rc;

/// Pairs drawn; a connection begins at its own place and goes round.
const PAIRS: usize = 1 << 18;

/// A pair of different accounts: from, to.
pub type Pair = (u32, u32);

/// A number coprime to `count`, near its golden section, so that
/// `rank * step % count` visits every number once and neighbours in rank lie far apart.
pub fn scatter_step(count: u32) -> u32 {
    let mut step = (u64::from(count) * 618 / 1000).max(1);
    while greatest_common_divisor(step, u64::from(count)) != 1 {
        step += 1;
    }
    u32::try_from(step).expect("a step that is coprime to count lies at or below count")
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The number that stands at `rank` in a scattered order of `count` numbers.
pub fn scatter(rank: u32, step: u32, count: u32) -> u32 {
    u32::try_from(u64::from(rank) * u64::from(step) % u64::from(count))
        .expect("a remainder of a u32 is a u32")
}

/// Draws pairs of different accounts, each with probability `rank^-exponent`.
///
/// # Panics
/// With fewer than two accounts there is no pair.
pub fn pairs(accounts: u32, exponent: f64, seed: u64) -> Rc<[Pair]> {
    assert!(accounts >= 2, "a pair needs two accounts");
    let mut cumulative = Vec::with_capacity(accounts as usize);
    let mut sum = 0.0;
    for rank in 1..=accounts {
        sum += f64::from(rank).powf(-exponent);
        cumulative.push(sum);
    }
    let step = scatter_step(accounts);
    let mut random = Random::new(seed);
    let mut draw = || {
        let point = random.unit() * sum;
        let rank = cumulative.partition_point(|&upper| upper <= point);
        let rank = u32::try_from(rank).expect("the table has a u32 of entries");
        scatter(rank.min(accounts - 1), step, accounts)
    };
    (0..PAIRS)
        .map(|_| {
            let from = draw();
            loop {
                let to = draw();
                if to != from {
                    return (from, to);
                }
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    #[test]
    fn scattering_visits_every_number_once() {
        for count in [1, 2, 3, 10, 1_000, 1_024, 99_991, 100_000] {
            let step = scatter_step(count);
            let seen: HashSet<u32> = (0..count).map(|rank| scatter(rank, step, count)).collect();
            assert_eq!(seen.len(), count as usize, "count {count}");
        }
    }

    #[test]
    fn the_first_rank_is_drawn_as_often_as_zipf_says() {
        let drawn = pairs(100_000, 1.5, 1);
        let mut counts = HashMap::new();
        for (from, to) in drawn.iter() {
            assert_ne!(from, to);
            *counts.entry(*from).or_insert(0_u32) += 1;
        }
        // zeta(1.5) is 2.612, cut off at 100,000 about 2.606: the first rank gets 38.4 %.
        let share = f64::from(counts[&0]) / drawn.len() as f64;
        assert!((share - 0.384).abs() < 0.01, "share {share}");
    }
}
