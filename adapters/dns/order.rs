//! In which order servers are tried (RFC 2782).

/// One SRV record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Srv {
    /// Lower ones come first.
    pub priority: u16,
    /// Its share among those of equal priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host; empty: the service does not exist at this domain.
    pub target: String,
}

/// Puts records in the order in which they are to be tried: by priority, and by lot among equals, each with a chance in
/// proportion to its weight. `chance` draws a number from zero to what it is told, both included.
pub fn order(records: &mut [Srv], chance: &mut impl FnMut(u32) -> u32) {
    // Records without weight come first, so that they have a small chance and not none.
    records.sort_by_key(|one| (one.priority, one.weight != 0));
    for equals in records.chunk_by_mut(|one, other| one.priority == other.priority) {
        let mut left = equals;
        while left.len() > 1 {
            let sum = left.iter().map(|one| u32::from(one.weight)).sum();
            let (drawn, mut running) = (chance(sum), 0);
            let chosen = left.iter().position(|one| {
                running += u32::from(one.weight);
                running >= drawn
            });
            left[..=chosen.unwrap_or_default()].rotate_right(1);
            left = &mut left[1..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(records: &[(u16, u16, &str)], mut chance: impl FnMut(u32) -> u32) -> String {
        let srv =
            |&(priority, weight, target): &(u16, u16, &str)| Srv { priority, weight, port: 0, target: target.into() };
        let mut records: Vec<_> = records.iter().map(srv).collect();
        order(&mut records, &mut chance);
        records.iter().map(|one| &*one.target).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn lower_priorities_come_first_whatever_their_weight() {
        let all = [(20, 100, "backup"), (10, 1, "main"), (30, 0, "last")];
        for drawn in [0, u32::MAX] {
            assert_eq!(ordered(&all, |most| drawn.min(most)), "main backup last");
        }
    }

    #[test]
    fn the_lot_falls_on_running_sums_of_weights() {
        let all = [(1, 10, "a"), (1, 0, "none"), (1, 60, "b"), (1, 30, "c")];
        let mut drawn = [0, 71, 60].into_iter();
        // Zero falls on the one without weight; then a has 1 to 10, b to 70, c to 100; then a to 10, b to 70.
        let mut sums = Vec::new();
        let order = ordered(&all, |most| {
            sums.push(most);
            drawn.next().unwrap()
        });
        assert_eq!((&*order, &sums[..]), ("none c b a", &[100, 100, 70][..]));
        assert_eq!(ordered(&all, |_| 1), "a b c none");
    }

    #[test]
    fn weights_are_shares() {
        let mut state = 1_u64;
        let mut first = 0;
        for _ in 0..10_000 {
            let order = ordered(&[(1, 3, "often"), (1, 1, "seldom")], |most| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                ((state >> 33) % u64::from(most + 1)) as u32
            });
            first += u32::from(order.starts_with("often"));
        }
        // Four of the five numbers fall on the first, since the running sum may equal the drawn number.
        assert!((7_700..8_300).contains(&first), "{first}");
    }

    #[test]
    fn many_heavy_records_do_not_overflow() {
        let all: Vec<_> = (0..1000).map(|_| (1, u16::MAX, "x")).collect();
        assert_eq!(ordered(&all, |most| most).len(), 1999);
    }
}
