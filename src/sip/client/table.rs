//! A table whose places are used again, so that a number from the wire finds its entry without a search.

/// A place in a [`Table`] and how often it has been used before: never found again once removed.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// Which.
    pub index: u32,
    /// The how manieth use.
    pub turn: u32,
}

/// Entries by place.
#[derive(Debug)]
pub struct Table<T> {
    entries: Vec<(u32, Option<Box<T>>)>,
    /// Places that were empty when they got here.
    free: Vec<u32>,
    len: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), free: Vec::new(), len: 0 }
    }
}

impl<T> Table<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Where the next entry will be.
    pub fn vacant(&mut self) -> Place {
        while let Some(&index) = self.free.last() {
            if let Some((turn, None)) = self.entries.get(index as usize) {
                return Place { index, turn: *turn };
            }
            self.free.pop();
        }
        Place { index: self.entries.len() as u32, turn: 0 }
    }

    /// Puts an entry where [`Self::vacant`] said.
    pub fn put(&mut self, it: T) -> Place {
        let place = self.vacant();
        self.put_at(place.index, it);
        place
    }

    /// Puts an entry at a certain place; `None` if that is taken. The table grows that far.
    pub fn put_at(&mut self, index: u32, it: T) -> Option<Place> {
        while self.entries.len() <= index as usize {
            if self.entries.len() < index as usize {
                self.free.push(self.entries.len() as u32);
            }
            self.entries.push((0, None));
        }
        let (turn, entry) = &mut self.entries[index as usize];
        if entry.is_some() {
            return None;
        }
        *entry = Some(Box::new(it));
        self.len += 1;
        Some(Place { index, turn: *turn })
    }

    /// The entry at a place.
    pub fn get(&self, place: Place) -> Option<&T> {
        self.entries.get(place.index as usize).filter(|(turn, _)| *turn == place.turn)?.1.as_deref()
    }

    /// The entry at a place.
    pub fn get_mut(&mut self, place: Place) -> Option<&mut T> {
        self.entries.get_mut(place.index as usize).filter(|(turn, _)| *turn == place.turn)?.1.as_deref_mut()
    }

    /// The place of a number from the wire, if it is taken.
    pub fn at(&self, index: u32) -> Option<Place> {
        let (turn, entry) = self.entries.get(index as usize)?;
        entry.as_ref().map(|_| Place { index, turn: *turn })
    }

    /// The how manieth use of a place the next one is.
    pub fn turn(&self, index: u32) -> u32 {
        self.entries.get(index as usize).map_or(0, |(turn, _)| *turn)
    }

    /// Takes an entry out.
    pub fn remove(&mut self, place: Place) -> Option<T> {
        let (turn, entry) = self.entries.get_mut(place.index as usize).filter(|(turn, _)| *turn == place.turn)?;
        let it = entry.take()?;
        *turn = turn.wrapping_add(1);
        self.len -= 1;
        self.free.push(place.index);
        Some(*it)
    }

    /// All entries from a number on, in the order of their places.
    pub fn from(&self, index: u32) -> impl Iterator<Item = (Place, &T)> {
        self.entries.iter().enumerate().skip(index as usize).filter_map(|(index, (turn, entry))| {
            entry.as_deref().map(|it| (Place { index: index as u32, turn: *turn }, it))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_used_again_and_old_ones_find_nothing() {
        let mut table = Table::default();
        let (one, two) = (table.put("one"), table.put("two"));
        assert_eq!(table.remove(one), Some("one"));
        let three = table.put("three");
        assert_eq!((three.index, table.get(one), table.get(three)), (one.index, None, Some(&"three")));
        assert_eq!((table.remove(one), table.at(1), table.at(2), table.len()), (None, Some(two), None, 2));
        // A certain place further out leaves usable ones behind it.
        let far = table.put_at(5, "far").unwrap();
        assert_eq!(table.put_at(5, "again"), None);
        let mut taken: Vec<u32> = (0..4).map(|_| table.put("more").index).collect();
        taken.sort_unstable();
        assert_eq!((taken, table.len(), far.index), (vec![2, 3, 4, 6], 7, 5));
        assert_eq!(table.from(4).map(|(place, _)| place.index).collect::<Vec<_>>(), [4, 5, 6]);
    }
}
