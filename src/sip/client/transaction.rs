//! A client transaction for requests other than INVITE.
//!
//! - RFC 3261 section 17.1.2.2: the state machine with timers E and F. A final answer ends it at once: an answer that
//!   comes again finds no transaction and is dropped, which is all that timer K is for.
//! - RFC 3261 section 17.1.3: a response belongs to the transaction whose branch and method it carries.

use crate::identifier::{COOKIE, hex};
use bytes::Bytes;
use lamplighter_model::config::Timers;
use lamplighter_model::{Flow, Time};
use std::time::Duration;

/// Begins what follows the cookie, so that branches of the user agent are told from those of the server side.
const MARK: u8 = b'c';

/// Names a transaction: the part of our Via's branch behind the magic cookie.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Branch {
    /// The place in the table.
    pub index: u32,
    /// Makes it unique and unguessable.
    pub key: u64,
}

impl Branch {
    /// The branch that one of our own Via headers carries; `None`: not one of ours.
    pub fn read(branch: &[u8]) -> Option<Self> {
        let digits = branch.strip_prefix(COOKIE)?.strip_prefix(&[MARK])?;
        (digits.len() == 24).then_some(())?;
        Some(Self { index: number(&digits[..8])? as u32, key: number(&digits[8..])? })
    }

    /// Appends it.
    pub fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(COOKIE);
        out.push(MARK);
        hex(out, u64::from(self.index), 8);
        hex(out, self.key, 16);
    }
}

/// A number in lower-case hexadecimal digits, as [`hex`] writes it.
pub fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, &byte| {
        let digit = char::from(byte).to_digit(16).filter(|_| !byte.is_ascii_uppercase())?;
        Some(value << 4 | u64::from(digit))
    })
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Nothing heard yet.
    Trying { resend_at: Time, interval: Duration },
    /// A provisional answer came: the request has arrived, the final answer may still be lost.
    Proceeding { resend_at: Time },
}

/// What is due in a transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Due {
    /// Send the request again.
    Resend,
    /// No final answer came within 64 times T1.
    TimedOut,
}

/// One transaction.
#[derive(Debug)]
pub struct Transaction {
    state: State,
    gives_up: Time,
    /// When the request was first sent.
    pub started: Time,
    /// Where to.
    pub flow: Flow,
    /// The request, for retransmission.
    pub bytes: Bytes,
}

impl Transaction {
    /// The request in `bytes` is being sent: it is sent again until answered (on datagrams), for 64 times T1.
    pub fn new(now: Time, timers: Timers, flow: Flow, bytes: Bytes) -> Self {
        let resend_at = if flow.transport.is_stream() { Time::NEVER } else { now + timers.t1 };
        let state = State::Trying { resend_at, interval: timers.t1 };
        Self { state, gives_up: now + timers.t1 * 64, started: now, flow, bytes }
    }

    /// When [`Self::due`] has something to say.
    pub fn deadline(&self) -> Time {
        match self.state {
            State::Trying { resend_at, .. } | State::Proceeding { resend_at } => resend_at.min(self.gives_up),
        }
    }

    /// What is due.
    pub fn due(&mut self, now: Time, timers: Timers) -> Option<Due> {
        match &mut self.state {
            _ if now >= self.gives_up => return Some(Due::TimedOut),
            State::Trying { resend_at, interval } if now >= *resend_at => {
                *interval = (*interval * 2).min(timers.t2);
                *resend_at = now + *interval;
            }
            State::Proceeding { resend_at } if now >= *resend_at => *resend_at = now + timers.t2,
            State::Trying { .. } | State::Proceeding { .. } => return None,
        }
        Some(Due::Resend)
    }

    /// A provisional answer has come: the request is sent again less often.
    pub fn provisional(&mut self, now: Time, timers: Timers) {
        if let State::Trying { .. } = self.state {
            let resend_at = if self.flow.transport.is_stream() { Time::NEVER } else { now + timers.t2 };
            self.state = State::Proceeding { resend_at };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplighter_model::Transport;

    const START: Time = Time::from_micros(1_000_000);

    fn started(transport: Transport) -> Transaction {
        let flow = Flow { transport, ..Flow::udp(0, "127.0.0.1:5060".parse().unwrap()) };
        Transaction::new(START, Timers::default(), flow, Bytes::from_static(b"request"))
    }

    /// Runs to the end; gives what happened with its time in milliseconds after the start.
    fn run(mut one: Transaction) -> String {
        let mut story = Vec::new();
        loop {
            let at = one.deadline();
            let due = one.due(at, Timers::default()).expect("something is due at the deadline");
            story.push(format!("{due:?} {}", at.since(START).as_millis()));
            if due == Due::TimedOut {
                return story.join(", ");
            }
        }
    }

    #[test]
    fn datagrams_are_repeated_ever_slower_then_given_up() {
        assert_eq!(
            run(started(Transport::Udp)),
            "Resend 500, Resend 1500, Resend 3500, Resend 7500, Resend 11500, Resend 15500, Resend 19500, \
             Resend 23500, Resend 27500, Resend 31500, TimedOut 32000"
        );
    }

    #[test]
    fn streams_repeat_nothing() {
        assert_eq!(run(started(Transport::Tcp)), "TimedOut 32000");
        let mut one = started(Transport::Tcp);
        one.provisional(START + Duration::from_millis(100), Timers::default());
        assert_eq!(run(one), "TimedOut 32000");
    }

    #[test]
    fn a_provisional_answer_slows_the_repeats_but_does_not_end_them() {
        let mut one = started(Transport::Udp);
        one.provisional(START + Duration::from_millis(100), Timers::default());
        assert_eq!(one.due(START + Duration::from_millis(4000), Timers::default()), None);
        assert_eq!(
            run(one),
            "Resend 4100, Resend 8100, Resend 12100, Resend 16100, Resend 20100, Resend 24100, Resend 28100, \
             TimedOut 32000"
        );
    }

    #[test]
    fn branches_are_read_back_and_others_are_not_ours() {
        let branch = Branch { index: 0xff00_0001, key: u64::MAX - 1 };
        let mut text = Vec::new();
        branch.write(&mut text);
        assert_eq!(Branch::read(&text), Some(branch));
        for other in ["z9hG4bKc00000001000000000000000A", "z9hG4bK00000001000000000000000a00", "z9hG4bKc", "", "c"] {
            assert_eq!(Branch::read(other.as_bytes()), None, "{other}");
        }
        assert_eq!(crate::identifier::Branch::read(&text), None);
    }
}
