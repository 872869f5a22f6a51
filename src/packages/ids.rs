//! Ids that several sources chose, made unique in one document.

use std::collections::BTreeSet;

/// For each of `ids`, what to write in its place: the first to use an id keeps it (`None`), others get a suffix from
/// `mark`, which should depend on what the id names, so that it is the same in the next document.
pub(crate) fn unique(ids: &[&str], mark: impl Fn(usize) -> u32) -> Vec<Option<Box<str>>> {
    if ids.len() < 2 {
        return vec![None; ids.len()];
    }
    let mut used: BTreeSet<&str> = BTreeSet::new();
    let taken: Vec<bool> = ids.iter().map(|id| !used.insert(id)).collect();
    let mut made: BTreeSet<Box<str>> = BTreeSet::new();
    let other = |(index, taken): (usize, bool)| {
        let mut number = taken.then(|| mark(index))?;
        loop {
            let id: Box<str> = format!("{}-{number:08x}", ids[index]).into();
            if !used.contains(&*id) && made.insert(id.clone()) {
                return Some(id);
            }
            number = number.wrapping_add(1);
        }
    };
    taken.into_iter().enumerate().map(other).collect()
}

#[cfg(test)]
mod tests {
    use super::unique;

    #[test]
    fn the_first_keeps_its_id_and_made_ones_are_free() {
        let ids = unique(&["1", "2", "1", "1-00000007", "1"], |_| 7);
        let ids: Vec<Option<&str>> = ids.iter().map(Option::as_deref).collect();
        assert_eq!(ids, [None, None, Some("1-00000008"), None, Some("1-00000009")]);
    }
}
