//! The machine in numbers.

use super::{ASKED, Remote};
use lamplighter_model::remote::RemoteTotal;
use lamplighter_model::{RemoteAnswer, Time};
use lamplighter_sip::client::{State, Totals};

/// A list of samples in the making.
struct Page(Vec<RemoteTotal>);

impl Page {
    fn add(&mut self, counter: bool, help: &'static str, name: impl Into<String>, value: impl TryInto<u64>) {
        let value = value.try_into().unwrap_or(u64::MAX);
        self.0.push(RemoteTotal { name: name.into(), help, counter, value });
    }

    fn states(&mut self, name: &str, help: &'static str, counts: [usize; 5]) {
        for (state, count) in State::ALL.into_iter().zip(counts) {
            self.add(false, help, format!("{name}{{state=\"{}\"}}", state.name()), count);
        }
    }
}

impl Remote {
    /// Everything that is counted.
    pub(crate) fn totals(&self, now: Time) -> RemoteAnswer {
        let mut page = Page(Vec::new());
        let Totals {
            subscriptions_begun,
            subscriptions_ended,
            publications_begun,
            publications_ended,
            sent,
            publishes,
            resent,
            answers,
            timeouts,
            failed_over,
            notified,
            refused: _,
            dropped,
            refused_with,
            kept: _,
            hosts,
            servers,
            subscriptions,
            publications,
            dialogs,
            in_flight,
            waiting,
            shunned,
        } = self.agent.totals(now);
        page.add(
            false,
            "Internal subscriptions, those of the configuration included.",
            "remote_wishes",
            self.subs.len(),
        );
        let help = "Publications at other servers that programs have asked for.";
        page.add(false, help, "remote_documents", self.own.len());
        page.add(false, "Who listens to what becomes of them.", "remote_listeners", self.news.listeners());
        page.states("remote_subscriptions", "Subscriptions at other servers.", subscriptions);
        page.add(false, "Dialogs of subscriptions at other servers.", "remote_dialogs", dialogs);
        page.states("remote_publications", "Publications at other servers.", publications);
        page.add(true, "Subscriptions begun, forks included.", "remote_subscriptions_begun_total", subscriptions_begun);
        page.add(true, "Subscriptions that have ended.", "remote_subscriptions_ended_total", subscriptions_ended);
        page.add(true, "Publications begun.", "remote_publications_begun_total", publications_begun);
        page.add(true, "Publications that have ended.", "remote_publications_ended_total", publications_ended);
        let help = "Requests sent to other servers for the first time.";
        page.add(true, help, "remote_requests_sent_total{method=\"SUBSCRIBE\"}", sent - publishes);
        page.add(true, help, "remote_requests_sent_total{method=\"PUBLISH\"}", publishes);
        page.add(true, "Requests sent again.", "remote_requests_resent_total", resent);
        for (class, count) in (2..).zip(answers) {
            page.add(true, "Final answers.", format!("remote_answers_total{{class=\"{class}xx\"}}"), count);
        }
        page.add(true, "Requests that nobody answered in time.", "remote_timeouts_total", timeouts);
        page.add(true, "Requests that went on to another server.", "remote_failovers_total", failed_over);
        page.add(true, "NOTIFY requests accepted.", "remote_notify_accepted_total", notified);
        for status in [400, 415, 481, 489, 500] {
            let count = refused_with.get(&status).copied().unwrap_or(0);
            let name = format!("remote_notify_refused_total{{status=\"{status}\"}}");
            page.add(true, "NOTIFY requests refused.", name, count);
        }
        let help = "Messages that cannot be read, and answers that nobody waits for.";
        page.add(true, help, "remote_messages_dropped_total", dropped);
        let help = "Bodies of NOTIFY requests that make no sense, and changed nothing.";
        page.add(true, help, "remote_bad_bodies_total", self.bad_bodies);
        page.add(false, "Requests without an answer yet.", "remote_requests_in_flight", in_flight);
        page.add(false, "Requests that wait for their turn at a server.", "remote_requests_waiting", waiting);
        page.add(false, "Names of servers that are known.", "remote_hosts", hosts);
        page.add(false, "Servers that are known by address.", "remote_servers", servers);
        page.add(false, "Servers that are left alone for a while.", "remote_servers_shunned", shunned.len());
        let help = "Questions to shards: under way, waiting for their turn, and the most under way.";
        page.add(false, help, "remote_questions{state=\"asked\"}", self.asked.len());
        page.add(false, help, "remote_questions{state=\"waiting\"}", self.waiting.len());
        page.add(false, help, "remote_questions{state=\"most\"}", ASKED);
        RemoteAnswer::Totals(page.0)
    }
}
