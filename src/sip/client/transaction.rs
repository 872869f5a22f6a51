//! Client transactions for requests other than INVITE.
//!
//! - RFC 3261 section 17.1.2.2: the state machine with timers E, F and K.
//! - RFC 3261 section 17.1.3: a response belongs to the transaction whose branch and method it carries.

use bytes::Bytes;
use lamplighter_model::config::Timers;
use lamplighter_model::{Flow, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long retransmitted answers are absorbed (T4, RFC 3261 section 17.1.1.2).
const T4: Duration = Duration::from_secs(5);

/// What a branch must begin with (RFC 3261 section 8.1.1.7).
const COOKIE: &[u8] = b"z9hG4bK";

/// Names a transaction: the part of our Via's branch behind the magic cookie, as a number nobody can guess.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Branch(pub u64);

impl Branch {
    /// The branch that one of our own Via headers carries; `None`: not one of ours.
    pub fn read(branch: &[u8]) -> Option<Self> {
        let digits = branch.strip_prefix(COOKIE).filter(|digits| digits.len() == 16)?;
        let mut number = 0;
        for &digit in digits {
            let value = char::from(digit).to_digit(16).filter(|_| !digit.is_ascii_uppercase())?;
            number = number << 4 | u64::from(value);
        }
        Some(Self(number))
    }
}

impl std::fmt::Display for Branch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "z9hG4bK{:016x}", self.0)
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Nothing heard yet.
    Trying { resend_at: Time, interval: Duration },
    /// A provisional answer came: the request has arrived, the final answer may still be lost.
    Proceeding { resend_at: Time },
    /// The final answer came; it may come again.
    Completed { until: Time },
}

/// What is due in a transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Due {
    Resend,
    TimedOut,
    Ended,
}

#[derive(Debug)]
struct Transaction<O> {
    state: State,
    gives_up: Time,
    method: &'static str,
    flow: Flow,
    /// The request, for retransmission; empty once answered.
    bytes: Bytes,
    /// Who wants the final answer; taken when it is handed out.
    owner: Option<O>,
}

impl<O> Transaction<O> {
    fn deadline(&self) -> Time {
        match self.state {
            State::Trying { resend_at, .. } | State::Proceeding { resend_at } => resend_at.min(self.gives_up),
            State::Completed { until } => until,
        }
    }

    fn due(&mut self, now: Time, t2: Duration) -> Option<Due> {
        match self.state {
            State::Completed { until } => (now >= until).then_some(Due::Ended),
            _ if now >= self.gives_up => Some(Due::TimedOut),
            State::Trying { resend_at, interval } if now >= resend_at => {
                let interval = (interval * 2).min(t2);
                self.state = State::Trying { resend_at: now + interval, interval };
                Some(Due::Resend)
            }
            State::Proceeding { resend_at } if now >= resend_at => {
                self.state = State::Proceeding { resend_at: now + t2 };
                Some(Due::Resend)
            }
            State::Trying { .. } | State::Proceeding { .. } => None,
        }
    }
}

/// What [`Transactions::handle_timeout`] wants done.
#[derive(Debug, Eq, PartialEq)]
pub enum Expired<O> {
    /// Send the request again.
    Resend(Flow, Bytes),
    /// No final answer came within 64 times T1.
    TimedOut(O),
}

/// All client transactions of a user agent; `O` says on whose behalf a request was sent.
#[derive(Debug)]
pub struct Transactions<O> {
    timers: Timers,
    all: BTreeMap<Branch, Transaction<O>>,
    due: BTreeSet<(Time, Branch)>,
}

impl<O> Transactions<O> {
    /// None yet.
    pub fn new(timers: Timers) -> Self {
        Self { timers, all: BTreeMap::new(), due: BTreeSet::new() }
    }

    /// The request in `bytes` is being sent: it is sent again until answered (on datagrams), for 64 times T1.
    pub fn start(&mut self, now: Time, branch: Branch, method: &'static str, flow: Flow, bytes: Bytes, owner: O) {
        let resend_at = if flow.transport.is_stream() { Time::NEVER } else { now + self.timers.t1 };
        let transaction = Transaction {
            state: State::Trying { resend_at, interval: self.timers.t1 },
            gives_up: now + self.timers.t1 * 64,
            method,
            flow,
            bytes,
            owner: Some(owner),
        };
        self.due.insert((transaction.deadline(), branch));
        self.all.insert(branch, transaction);
    }

    /// A response has come. Gives the owner at the first final one; all others are absorbed.
    pub fn handle_response(&mut self, now: Time, branch: &[u8], method: &[u8], status: u16) -> Option<O> {
        let branch = Branch::read(branch)?;
        let transaction = self.all.get_mut(&branch).filter(|one| one.method.as_bytes() == method)?;
        let stream = transaction.flow.transport.is_stream();
        let before = transaction.deadline();
        let state = match (transaction.state, status) {
            (State::Completed { .. }, _) => return None,
            (State::Trying { resend_at, .. }, ..200) => {
                let resend_at = if stream { resend_at } else { now + self.timers.t2 };
                State::Proceeding { resend_at }
            }
            (proceeding @ State::Proceeding { .. }, ..200) => proceeding,
            (_, 200..) => State::Completed { until: if stream { now } else { now + T4 } },
        };
        transaction.state = state;
        self.due.remove(&(before, branch));
        self.due.insert((transaction.deadline(), branch));
        if matches!(state, State::Completed { .. }) {
            transaction.bytes = Bytes::new();
            return transaction.owner.take();
        }
        None
    }

    /// Does what is due; what must be done outside lands in `expired`.
    pub fn handle_timeout(&mut self, now: Time, expired: &mut Vec<Expired<O>>) {
        while let Some(&(at, branch)) = self.due.first().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, branch));
            let Some(transaction) = self.all.get_mut(&branch) else { continue };
            match transaction.due(now, self.timers.t2) {
                Some(Due::Resend) => expired.push(Expired::Resend(transaction.flow, transaction.bytes.clone())),
                Some(Due::TimedOut) => {
                    expired.extend(transaction.owner.take().map(Expired::TimedOut));
                    self.all.remove(&branch);
                    continue;
                }
                Some(Due::Ended) => {
                    self.all.remove(&branch);
                    continue;
                }
                None => {}
            }
            self.due.insert((transaction.deadline(), branch));
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn deadline(&self) -> Option<Time> {
        self.due.first().map(|&(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplighter_model::Transport;

    const START: Time = Time::from_micros(1_000_000);
    const BRANCH: Branch = Branch(0x0123_4567_89ab_cdef);

    fn flow(transport: Transport) -> Flow {
        Flow { transport, ..Flow::udp(0, "127.0.0.1:5060".parse().unwrap()) }
    }

    fn started(transport: Transport) -> Transactions<&'static str> {
        let mut all = Transactions::new(Timers::default());
        all.start(START, BRANCH, "PUBLISH", flow(transport), Bytes::from_static(b"request"), "owner");
        all
    }

    /// Runs to the end; gives what happened with its time in milliseconds after the start.
    fn run(all: &mut Transactions<&'static str>) -> String {
        let (mut story, mut expired) = (Vec::new(), Vec::new());
        while let Some(at) = all.deadline() {
            all.handle_timeout(at, &mut expired);
            let millis = at.since(START).as_millis();
            story.extend(expired.drain(..).map(|one| match one {
                Expired::Resend(_, bytes) => format!("{} {millis}", String::from_utf8_lossy(&bytes)),
                Expired::TimedOut(owner) => format!("{owner} timed out {millis}"),
            }));
            if all.deadline().is_none() {
                story.push(format!("end {millis}"));
            }
        }
        story.join(", ")
    }

    fn answer(all: &mut Transactions<&'static str>, millis: u64, status: u16) -> Option<&'static str> {
        let now = START + Duration::from_millis(millis);
        all.handle_timeout(now, &mut Vec::new());
        all.handle_response(now, BRANCH.to_string().as_bytes(), b"PUBLISH", status)
    }

    #[test]
    fn datagrams_are_repeated_ever_slower_then_given_up() {
        assert_eq!(
            run(&mut started(Transport::Udp)),
            "request 500, request 1500, request 3500, request 7500, request 11500, request 15500, request 19500, \
             request 23500, request 27500, request 31500, owner timed out 32000, end 32000"
        );
    }

    #[test]
    fn streams_repeat_nothing() {
        assert_eq!(run(&mut started(Transport::Tcp)), "owner timed out 32000, end 32000");
    }

    #[test]
    fn the_final_answer_is_handed_out_once_and_absorbed_for_five_seconds() {
        let mut all = started(Transport::Udp);
        assert_eq!(answer(&mut all, 100, 200), Some("owner"));
        assert_eq!(answer(&mut all, 200, 200), None);
        assert_eq!(run(&mut all), "end 5100");
        let mut all = started(Transport::Tcp);
        assert_eq!(answer(&mut all, 100, 200), Some("owner"));
        assert_eq!(run(&mut all), "end 100");
    }

    #[test]
    fn a_provisional_answer_slows_the_repeats_but_does_not_end_them() {
        let mut all = started(Transport::Udp);
        assert_eq!(answer(&mut all, 100, 100), None);
        assert_eq!(
            run(&mut all),
            "request 4100, request 8100, request 12100, request 16100, request 20100, request 24100, request 28100, \
             owner timed out 32000, end 32000"
        );
    }

    #[test]
    fn answers_of_others_are_ignored() {
        let mut all = started(Transport::Udp);
        for branch in ["z9hG4bK0123456789abcdee", "z9hG4bK0123456789ABCDEF", "0123456789abcdef", "z9hG4bK", ""] {
            assert_eq!(all.handle_response(START, branch.as_bytes(), b"PUBLISH", 200), None, "{branch}");
        }
        assert_eq!(all.handle_response(START, BRANCH.to_string().as_bytes(), b"SUBSCRIBE", 200), None);
        assert_eq!(answer(&mut all, 1, 200), Some("owner"));
    }
}
