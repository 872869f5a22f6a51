//! A day at the office, played by dice: who calls whom, who answers, who is away. No socket and no clock: the same
//! seed gives the same day.

use super::people::{Department, Kind, OUTSIDERS, PEOPLE};
use lamplighter_model::{Seed, Time};
use std::time::Duration;

/// Chance, repeatable.
#[derive(Debug)]
struct Dice {
    seed: Seed,
    thrown: u64,
}

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        self.thrown += 1;
        (self.seed.check(self.thrown, 0, 0) % count.max(1) as u64) as usize
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    fn millis(&mut self, least: usize, most: usize) -> Duration {
        Duration::from_millis((least + self.below(most - least + 1)) as u64)
    }
}

/// Who takes part in a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Party {
    /// A place in [`PEOPLE`].
    Desk(usize),
    /// A place in [`OUTSIDERS`].
    Outside(usize),
    /// The voicemail system.
    Voicemail,
}

/// The two ends of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// Who called.
    Caller,
    /// Who was called.
    Callee,
}

/// How far a call is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// The caller has dialled.
    Trying,
    /// The callee's phone rings.
    Ringing,
    /// They talk.
    Talking,
    /// One of them has put the other on hold.
    Held(Side),
    /// Nobody answered; the caller talks to the callee's voicemail, the callee is out of it.
    Recording,
}

#[derive(Clone, Debug)]
struct Call {
    number: u64,
    caller: Party,
    callee: Party,
    phase: Phase,
    /// When the next phase begins.
    next: Time,
    /// Whether it has been on hold, which happens once.
    held: bool,
}

/// How a phone sees one of its calls.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// Dialled, no answer yet.
    Trying,
    /// Ringing.
    Early,
    /// Talking, unless `held`.
    Confirmed,
    /// Over, for this reason of RFC 4235 section 3.7.1.
    Terminated(&'static str),
}

/// One call of a phone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Line {
    /// Names the call; both ends have the same.
    pub call: u64,
    /// Which end this phone is.
    pub side: Side,
    /// How far it is.
    pub progress: Progress,
    /// Whether this phone has put the other on hold.
    pub held: bool,
    /// The other end.
    pub remote: Party,
}

/// Where somebody is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mood {
    /// Whether the phone is worth calling (PIDF basic).
    pub open: bool,
    /// An activity of RFC 4480.
    pub activity: Option<&'static str>,
    /// A note.
    pub note: &'static str,
    /// Who is not there does not answer and does not call.
    pub there: bool,
    /// Do not disturb: calls are refused.
    pub refuses: bool,
}

const HERE: Mood = Mood { open: true, activity: None, note: "", there: true, refuses: false };

/// What people do when they are not simply there, and how often.
const MOODS: [(usize, Mood); 11] = [
    (20, Mood { activity: Some("away"), note: "Back in a minute", there: false, ..HERE }),
    (20, Mood { activity: Some("meeting"), note: "In the blue room", there: false, ..HERE }),
    (10, Mood { activity: Some("meeting"), note: "Stand-up", there: false, ..HERE }),
    (12, Mood { activity: Some("lunch"), note: "Out for lunch", there: false, ..HERE }),
    (8, Mood { activity: Some("meal"), note: "Coffee kitchen", there: false, ..HERE }),
    (8, Mood { activity: Some("busy"), note: "Deadline at five", refuses: true, ..HERE }),
    (3, Mood { activity: Some("busy"), note: "Please do not disturb", refuses: true, ..HERE }),
    (6, Mood { activity: Some("presentation"), note: "Showing the new release", there: false, ..HERE }),
    (6, Mood { activity: Some("in-transit"), note: "On the train", open: false, there: false, ..HERE }),
    (6, Mood { activity: None, note: "Working from home", ..HERE }),
    (4, Mood { activity: Some("appointment"), note: "Back at 3", open: false, there: false, ..HERE }),
];

/// What is true of one desk.
#[derive(Debug)]
pub struct Desk {
    /// Where its person is.
    pub mood: Mood,
    /// New and old messages.
    pub mailbox: (u32, u32),
    /// The calls that ended with the latest change.
    ended: Vec<Line>,
    /// When the calls, the presence, the voicemail changed last.
    changed: [Time; 3],
    mood_ends: Time,
}

/// Something at a desk has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Changed {
    /// A place in [`PEOPLE`].
    pub desk: usize,
    /// What.
    pub kind: Kind,
}

/// The office: what is true, and what happens next.
#[derive(Debug)]
pub struct Day {
    dice: Dice,
    desks: Vec<Desk>,
    calls: Vec<Call>,
    counted: u64,
    next_call: Time,
    next_mood: Time,
}

impl Day {
    /// Begins in the middle of a morning: a few messages wait, a few people are out.
    pub fn new(now: Time, seed: u64) -> Self {
        let mut dice = Dice { seed: Seed(seed, 0x0064_6179), thrown: 0 };
        let desks = PEOPLE.map(|_| {
            let mailbox = if dice.percent(25) { (1 + dice.below(3) as u32, dice.below(6) as u32) } else { (0, 0) };
            let (mood, mood_ends) = match dice.percent(15) {
                true => (pick_mood(&mut dice), now + dice.millis(5_000, 40_000)),
                false => (HERE, Time::NEVER),
            };
            Desk { mood, mailbox, ended: Vec::new(), changed: [now; 3], mood_ends }
        });
        let desks = Vec::from(desks);
        Self { dice, desks, calls: Vec::new(), counted: 0, next_call: now, next_mood: now + Duration::from_secs(2) }
    }

    /// What is true of a desk.
    pub fn desk(&self, desk: usize) -> &Desk {
        &self.desks[desk]
    }

    /// When it became true. Presence also says who talks, so calls count for it.
    pub fn changed(&self, desk: usize, kind: Kind) -> Time {
        let [dialog, presence, voicemail] = self.desks[desk].changed;
        match kind {
            Kind::Dialog => dialog,
            Kind::Presence => presence.max(dialog),
            Kind::Voicemail => voicemail,
        }
    }

    /// The calls of a desk that are up.
    pub fn lines(&self, desk: usize) -> Vec<Line> {
        self.calls.iter().filter_map(|call| line(call, desk)).collect()
    }

    /// What its phone says: the calls that are up, and those that have just ended.
    pub fn lines_and_ended(&self, desk: usize) -> Vec<Line> {
        let mut lines = self.lines(desk);
        lines.extend_from_slice(&self.desks[desk].ended);
        lines
    }

    /// How many desks have a call.
    pub fn busy(&self) -> usize {
        (0..self.desks.len()).filter(|desk| self.is_busy(*desk)).count()
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn deadline(&self) -> Time {
        let moods = self.desks.iter().map(|desk| desk.mood_ends);
        let calls = self.calls.iter().map(|call| call.next);
        calls.chain(moods).fold(self.next_call.min(self.next_mood), Time::min)
    }

    /// Does what is due. What has changed lands in `changed`, each thing once.
    pub fn handle_timeout(&mut self, now: Time, changed: &mut Vec<Changed>) {
        let from = changed.len();
        for at in (0..self.calls.len()).rev() {
            if self.calls[at].next <= now {
                self.advance(at, now, changed);
            }
        }
        for desk in 0..self.desks.len() {
            if self.desks[desk].mood_ends <= now {
                self.come_back(desk, now, changed);
            }
        }
        if self.next_mood <= now {
            self.next_mood = now + self.dice.millis(2_000, 6_000);
            self.change_mood(now, changed);
        }
        if self.next_call <= now {
            self.next_call = now + self.dice.millis(1_000, 3_000);
            self.place_call(now, changed);
        }
        let mut news = changed.split_off(from);
        news.sort_unstable_by_key(|one| (one.desk, one.kind));
        news.dedup();
        for Changed { desk, kind } in &news {
            self.desks[*desk].changed[*kind as usize] = now;
        }
        changed.extend(news);
    }

    fn is_busy(&self, desk: usize) -> bool {
        self.calls.iter().any(|call| line(call, desk).is_some())
    }

    /// Somebody calls somebody, unless a third of all phones is in use.
    fn place_call(&mut self, now: Time, changed: &mut Vec<Changed>) {
        if self.busy() + 2 > self.desks.len() / 3 {
            return;
        }
        let free: Vec<usize> =
            (0..self.desks.len()).filter(|desk| !self.is_busy(*desk) && self.desks[*desk].mood.there).collect();
        if free.is_empty() {
            return;
        }
        let desk = free[self.dice.below(free.len())];
        let outside = Party::Outside(self.dice.below(OUTSIDERS.len()));
        let anybody = self.dice.below(self.desks.len());
        let customers = matches!(PEOPLE[desk].department, Department::Sales | Department::Support);
        let (caller, callee) = match self.dice.below(100) {
            // Customers call those who are there for them, and the reception even when it talks already.
            0..30 if customers => (outside, Party::Desk(desk)),
            0..25 => (outside, Party::Desk(self.dice.below(2))),
            25..40 => (Party::Desk(desk), outside),
            _ if anybody != desk => (Party::Desk(desk), Party::Desk(anybody)),
            _ => return,
        };
        self.call(caller, callee, now, changed);
    }

    fn call(&mut self, caller: Party, callee: Party, now: Time, changed: &mut Vec<Changed>) {
        self.counted += 1;
        let next = now + self.dice.millis(150, 700);
        let call = Call { number: self.counted, caller, callee, phase: Phase::Trying, next, held: false };
        self.touch(None, &call, changed);
        self.calls.push(call);
    }

    /// The next phase of a call has come.
    fn advance(&mut self, at: usize, now: Time, changed: &mut Vec<Changed>) {
        let call = self.calls[at].clone();
        let (phase, lasts) = match call.phase {
            Phase::Trying if call.callee == Party::Voicemail => (Phase::Recording, self.dice.millis(4_000, 9_000)),
            Phase::Trying => match call.callee {
                Party::Desk(desk) if self.refuses(desk) => return self.end(at, "rejected", changed),
                Party::Desk(desk) if !self.desks[desk].mood.there => (Phase::Ringing, self.dice.millis(7_000, 12_000)),
                _ => (Phase::Ringing, self.dice.millis(1_500, 7_000)),
            },
            Phase::Ringing => match call.callee {
                Party::Desk(desk) if !self.desks[desk].mood.there => {
                    if call.caller != Party::Voicemail && self.dice.percent(70) {
                        self.end_side(&call, Side::Callee, "timeout", changed);
                        (Phase::Recording, self.dice.millis(4_000, 9_000))
                    } else {
                        return self.end(at, "timeout", changed);
                    }
                }
                _ if self.dice.percent(7) => return self.end(at, "cancelled", changed),
                Party::Desk(desk) => {
                    self.hold_others(desk, call.number, now, changed);
                    (Phase::Talking, self.dice.millis(6_000, 25_000))
                }
                _ => (Phase::Talking, self.dice.millis(6_000, 25_000)),
            },
            Phase::Talking if !call.held && self.dice.percent(35) => {
                let sides: Vec<Side> = [(Side::Caller, call.caller), (Side::Callee, call.callee)]
                    .into_iter()
                    .filter_map(|(side, party)| matches!(party, Party::Desk(_)).then_some(side))
                    .collect();
                (Phase::Held(sides[self.dice.below(sides.len())]), self.dice.millis(3_000, 9_000))
            }
            Phase::Talking => {
                let reason = if self.dice.percent(50) { "local-bye" } else { "remote-bye" };
                return self.end(at, reason, changed);
            }
            Phase::Held(_) => (Phase::Talking, self.dice.millis(3_000, 12_000)),
            Phase::Recording => {
                match (call.caller, call.callee) {
                    // Who calls the voicemail listens.
                    (Party::Desk(desk), Party::Voicemail) => {
                        let (new, old) = self.desks[desk].mailbox;
                        self.desks[desk].mailbox = (0, (new + old).min(9));
                        changed.push(Changed { desk, kind: Kind::Voicemail });
                    }
                    (_, Party::Desk(desk)) => {
                        self.desks[desk].mailbox.0 += 1;
                        changed.push(Changed { desk, kind: Kind::Voicemail });
                    }
                    _ => {}
                }
                return self.end(at, "local-bye", changed);
            }
        };
        self.enter(at, phase, now + lasts, changed);
    }

    fn enter(&mut self, at: usize, phase: Phase, next: Time, changed: &mut Vec<Changed>) {
        let before = self.calls[at].clone();
        let held = before.held || matches!(phase, Phase::Held(_));
        let call = Call { phase, next, held, ..before.clone() };
        self.calls[at] = call.clone();
        self.touch(Some(&before), &call, changed);
    }

    /// A phone in use, or of somebody who wants quiet, takes no call; the reception's takes a second one.
    fn refuses(&self, desk: usize) -> bool {
        let calls = self.calls.iter().filter(|call| line(call, desk).is_some()).count();
        let most = if PEOPLE[desk].department == Department::Reception { 2 } else { 1 };
        self.desks[desk].mood.refuses || calls >= most
    }

    /// Who answers a second call puts the first on hold, for as long as people hold.
    fn hold_others(&mut self, desk: usize, answered: u64, now: Time, changed: &mut Vec<Changed>) {
        for at in 0..self.calls.len() {
            let call = &self.calls[at];
            let Some(line) = line(call, desk).filter(|line| line.call != answered) else { continue };
            if call.phase == Phase::Talking {
                let lasts = self.dice.millis(8_000, 20_000);
                self.enter(at, Phase::Held(line.side), now + lasts, changed);
            }
        }
    }

    fn end(&mut self, at: usize, reason: &'static str, changed: &mut Vec<Changed>) {
        let call = self.calls.remove(at);
        for side in [Side::Caller, Side::Callee] {
            let reason = match (side, reason) {
                (Side::Callee, "local-bye") => "remote-bye",
                (Side::Callee, "remote-bye") => "local-bye",
                (_, reason) => reason,
            };
            self.end_side(&call, side, reason, changed);
        }
    }

    fn end_side(&mut self, call: &Call, side: Side, reason: &'static str, changed: &mut Vec<Changed>) {
        let Party::Desk(desk) = call.party(side) else { return };
        let Some(line) = line(call, desk) else { return };
        self.say(desk, changed);
        self.desks[desk].ended.push(Line { progress: Progress::Terminated(reason), held: false, ..line });
    }

    /// The phones of a call that see it in another way than they saw `before` have something new to say.
    fn touch(&mut self, before: Option<&Call>, call: &Call, changed: &mut Vec<Changed>) {
        for side in [Side::Caller, Side::Callee] {
            if let Party::Desk(desk) = call.party(side)
                && before.and_then(|before| line(before, desk)) != line(call, desk)
                && line(call, desk).is_some()
            {
                self.say(desk, changed);
            }
        }
    }

    /// The phone of a desk has something new to say; what it said has ended is said.
    fn say(&mut self, desk: usize, changed: &mut Vec<Changed>) {
        self.desks[desk].ended.clear();
        changed.push(Changed { desk, kind: Kind::Dialog });
    }

    fn change_mood(&mut self, now: Time, changed: &mut Vec<Changed>) {
        let out = self.desks.iter().filter(|desk| desk.mood != HERE).count();
        let desk = self.dice.below(self.desks.len());
        if out > self.desks.len() / 3 || self.desks[desk].mood != HERE || self.is_busy(desk) {
            return;
        }
        self.desks[desk].mood = pick_mood(&mut self.dice);
        self.desks[desk].mood_ends = now + self.dice.millis(20_000, 80_000);
        changed.push(Changed { desk, kind: Kind::Presence });
    }

    /// Who comes back and finds messages listens to them.
    fn come_back(&mut self, desk: usize, now: Time, changed: &mut Vec<Changed>) {
        self.desks[desk].mood = HERE;
        self.desks[desk].mood_ends = Time::NEVER;
        changed.push(Changed { desk, kind: Kind::Presence });
        if self.desks[desk].mailbox.0 > 0 && !self.is_busy(desk) {
            self.call(Party::Desk(desk), Party::Voicemail, now, changed);
        }
    }
}

impl Call {
    fn party(&self, side: Side) -> Party {
        match side {
            Side::Caller => self.caller,
            Side::Callee => self.callee,
        }
    }
}

fn pick_mood(dice: &mut Dice) -> Mood {
    let mut left = dice.below(MOODS.iter().map(|(often, _)| often).sum());
    for (often, mood) in MOODS {
        if left < often {
            return mood;
        }
        left -= often;
    }
    HERE
}

/// How the phone of `desk` sees a call, if it is in it.
fn line(call: &Call, desk: usize) -> Option<Line> {
    let desk = Party::Desk(desk);
    let side = if call.caller == desk {
        Side::Caller
    } else if call.callee == desk {
        Side::Callee
    } else {
        return None;
    };
    let progress = match (call.phase, side) {
        // The call has not reached, or has left, the callee.
        (Phase::Trying | Phase::Recording, Side::Callee) => return None,
        (Phase::Trying, Side::Caller) => Progress::Trying,
        (Phase::Ringing, _) => Progress::Early,
        (Phase::Talking | Phase::Held(_) | Phase::Recording, _) => Progress::Confirmed,
    };
    let remote = if side == Side::Caller { call.callee } else { call.caller };
    Some(Line { call: call.number, side, progress, held: call.phase == Phase::Held(side), remote })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    const START: Time = Time::from_micros(1_800_000_000_000_000);

    /// Plays `minutes`; `look` sees the day after each step, with what has changed.
    fn play(seed: u64, minutes: u32, mut look: impl FnMut(&Day, Time, &[Changed])) {
        let (mut day, mut changed) = (Day::new(START, seed), Vec::new());
        let end = START + Duration::from_secs(60) * minutes;
        while day.deadline() < end {
            let now = day.deadline();
            day.handle_timeout(now, &mut changed);
            look(&day, now, &changed);
            changed.clear();
        }
    }

    #[test]
    fn nothing_changes_unsaid_and_nothing_is_said_unchanged() {
        for seed in 0..4 {
            let all = |day: &Day, desk| (day.lines_and_ended(desk), day.desk(desk).mood, day.desk(desk).mailbox);
            let first = Day::new(START, seed);
            let mut known: Vec<_> = (0..PEOPLE.len()).map(|desk| all(&first, desk)).collect();
            play(seed, 10, |day, now, changed| {
                for (desk, known) in known.iter_mut().enumerate() {
                    let is = all(day, desk);
                    let said = |kind| changed.contains(&Changed { desk, kind });
                    let differs = |a: &[Line], b: &[Line]| a != b;
                    assert_eq!(differs(&is.0, &known.0), said(Kind::Dialog), "{desk} {is:?} {known:?}");
                    assert_eq!(is.1 != known.1, said(Kind::Presence));
                    assert_eq!(is.2 != known.2, said(Kind::Voicemail));
                    assert!(!said(Kind::Voicemail) || day.changed(desk, Kind::Voicemail) == now);
                    *known = is;
                }
            });
        }
    }

    #[test]
    fn the_office_is_lively_but_never_more_than_a_third_is_busy_at_first_ring() {
        let (mut steps, mut most, mut states) = (0, 0, BTreeSet::new());
        play(7, 30, |day, _, changed| {
            steps += usize::from(!changed.is_empty());
            most = most.max(day.busy());
            for desk in 0..PEOPLE.len() {
                states
                    .extend(day.lines_and_ended(desk).iter().map(|line| format!("{:?} {}", line.progress, line.held)));
                states.extend(day.desk(desk).mood.activity.map(str::to_owned));
            }
        });
        assert!((900..4500).contains(&steps), "{steps} changes in half an hour");
        assert!(most > 5 && most <= PEOPLE.len() / 3 + 2, "{most} busy");
        let missing: Vec<_> = [
            "Trying false",
            "Early false",
            "Confirmed false",
            "Confirmed true",
            "Terminated(\"timeout\") false",
            "Terminated(\"rejected\") false",
            "Terminated(\"cancelled\") false",
            "Terminated(\"local-bye\") false",
            "away",
            "meeting",
            "lunch",
            "busy",
        ]
        .into_iter()
        .filter(|state| !states.contains(*state))
        .collect();
        assert!(missing.is_empty(), "{missing:?} never happened");
    }

    #[test]
    fn both_ends_of_a_call_agree() {
        play(3, 10, |day, _, _| {
            let mut ends: BTreeMap<u64, Vec<(usize, Line)>> = BTreeMap::new();
            for desk in 0..PEOPLE.len() {
                for line in day.lines(desk) {
                    ends.entry(line.call).or_default().push((desk, line));
                }
            }
            for both in ends.values().filter(|ends| ends.len() == 2) {
                let [(a, one), (b, other)] = both[..] else { panic!("{both:?}") };
                assert_eq!((one.remote, other.remote), (Party::Desk(b), Party::Desk(a)));
                assert_ne!(one.side, other.side);
                assert_eq!(one.progress, other.progress);
                assert!(!(one.held && other.held));
            }
            assert!(ends.values().all(|ends| ends.len() <= 2));
        });
    }

    #[test]
    fn the_same_seed_gives_the_same_day() {
        let story = |seed| {
            let mut story = String::new();
            play(seed, 5, |day, now, changed| story.push_str(&format!("{now:?} {changed:?} {}", day.busy())));
            story
        };
        assert_eq!(story(1), story(1));
        assert_ne!(story(1), story(2));
    }
}
