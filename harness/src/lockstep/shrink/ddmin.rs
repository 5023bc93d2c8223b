//! Delta debugging: which of some parts a failure needs (Zeller and Hildebrandt, *Simplifying and Isolating
//! Failure-Inducing Input*, IEEE TSE 28(2), 2002, figure 3).
//!
//! The result is 1-minimal: it fails, and without any one of its parts it does not. A smaller one may exist.

use std::collections::BTreeSet;

/// The parts, of `0..count`, that are kept. `fails` is asked about ascending lists of parts, each at most once, and is
/// taken to fail with all of them. An error ends the search.
pub fn ddmin<E>(
    count: usize,
    fails: &mut dyn FnMut(&[usize]) -> Result<bool, E>,
) -> Result<Vec<usize>, E> {
    let mut asked = BTreeSet::new();
    let mut fails = |parts: &[usize]| {
        // What failed became the base at once, so what was asked before passes.
        if asked.insert(parts.to_vec()) { fails(parts) } else { Ok(false) }
    };
    let mut kept: Vec<usize> = (0..count).collect();
    if kept.is_empty() || fails(&[])? {
        return Ok(Vec::new());
    }
    let mut granularity = 2;
    while 2 <= kept.len() {
        granularity = granularity.min(kept.len());
        let chunks = chunks(&kept, granularity);
        let smaller = first(&chunks, &mut fails)?;
        if let Some(chunk) = smaller {
            (kept, granularity) = (chunk, 2);
            continue;
        }
        let rest = |index: usize| {
            let others = chunks.iter().enumerate().filter(|(other, _)| *other != index);
            others.flat_map(|(_, chunk)| chunk.iter().copied()).collect::<Vec<_>>()
        };
        let complements: Vec<Vec<usize>> = (0..chunks.len()).map(rest).collect();
        if let Some(complement) = first(&complements, &mut fails)? {
            (kept, granularity) = (complement, (granularity - 1).max(2));
        } else if granularity == kept.len() {
            break;
        } else {
            granularity *= 2;
        }
    }
    Ok(kept)
}

/// The first list that fails.
fn first<E>(
    lists: &[Vec<usize>],
    fails: &mut dyn FnMut(&[usize]) -> Result<bool, E>,
) -> Result<Option<Vec<usize>>, E> {
    for list in lists {
        if fails(list)? {
            return Ok(Some(list.clone()));
        }
    }
    Ok(None)
}

/// So many lists of about equal length, in order.
fn chunks(parts: &[usize], count: usize) -> Vec<Vec<usize>> {
    let border = |index: usize| index * parts.len() / count;
    (0..count).map(|index| parts[border(index)..border(index + 1)].to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn minimal(count: usize, fails: impl Fn(u32) -> bool) -> (u32, usize) {
        let mut asked = 0;
        let Ok(kept) = ddmin::<Infallible>(count, &mut |parts| {
            asked += 1;
            Ok(fails(mask(parts)))
        });
        (mask(&kept), asked)
    }

    fn mask(parts: &[usize]) -> u32 {
        parts.iter().fold(0, |mask, part| mask | 1 << part)
    }

    /// By brute force: whether it fails, and no set with one part less does.
    fn is_1_minimal(set: u32, fails: impl Fn(u32) -> bool) -> bool {
        let parts = (0..32).filter(|part| set & (1 << part) != 0);
        fails(set) && parts.into_iter().all(|part| !fails(set & !(1 << part)))
    }

    proptest! {
        #[test]
        fn what_is_kept_is_1_minimal_for_any_failure_at_all(count in 0_usize..10, table in any::<[u64; 16]>()) {
            // Any function of sets of up to 10 parts, with no order in it; the whole fails.
            let whole = (1 << count) - 1;
            let fails = |set: u32| set == whole || table[(set / 64) as usize % 16] >> (set % 64) & 1 == 1;
            let (kept, _) = minimal(count, fails);
            prop_assert!(is_1_minimal(kept, fails), "{kept:b} of {count}");
        }

        #[test]
        fn where_more_parts_never_mend_a_failure_the_smallest_set_is_found(count in 1_usize..24, needed in any::<u32>()) {
            let needed = needed & ((1 << count) - 1);
            let (kept, asked) = minimal(count, |set| set & needed == needed);
            prop_assert_eq!(kept, needed);
            // k² + 3k, section 4 of the paper, and the empty set.
            prop_assert!(asked <= count * count + 3 * count + 1, "{asked} for {count}");
        }
    }

    #[test]
    fn an_error_ends_the_search() {
        let mut asked = 0;
        let ended = ddmin(8, &mut |_| {
            asked += 1;
            if asked == 3 { Err("time is out") } else { Ok(false) }
        });
        assert_eq!((ended, asked), (Err("time is out"), 3));
    }
}
