//! Looking names up for shards and for the machine beside them: so many at once, and each for so long.

use crate::driver::{Inbox, Notice, Question};
use lamplighter_adapter_dns as dns;
use lamplighter_model::Seed;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};

/// Look-ups that wait for their turn; beyond, they have failed.
const QUESTIONS: usize = 1024;
/// Look-ups at once.
const LOOKUPS: usize = 128;
/// How long a look-up may take, with the wait for its turn. Name servers that drop what they do not know need 12 s.
const LOOKUP: Duration = Duration::from_secs(20);

/// Who looks names up.
pub(crate) struct Names(Arc<dns::Resolver>);

/// Where names are looked up.
pub(crate) struct Questions {
    pub ask: mpsc::Sender<Question>,
    /// Does it, on the runtime.
    pub serve: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Notice {
    /// The answer to a question about a name that leads nowhere.
    pub(crate) fn unknown(query: u64) -> Self {
        Self::Resolved { query, targets: Vec::new(), ttl: Duration::ZERO }
    }
}

impl Names {
    /// Asks these name servers; if there are none, those of the system.
    pub(crate) fn new(servers: Vec<SocketAddr>, seed: Seed) -> io::Result<Self> {
        dns::Resolver::new(servers, seed).map(Arc::new).map(Self)
    }

    /// For those with these inboxes.
    pub(crate) fn questions(&self, inboxes: Vec<Arc<Inbox>>) -> Questions {
        let (ask, questions) = mpsc::channel(QUESTIONS);
        let resolver = Arc::clone(&self.0);
        let lookup = move |question: dns::Question| {
            let resolver = Arc::clone(&resolver);
            async move { resolver.locate(&question).await }
        };
        Questions { ask, serve: Box::pin(serve(questions, inboxes, lookup)) }
    }
}

/// Answers questions by way of `lookup`. One that takes too long has failed.
async fn serve<F, L>(mut questions: mpsc::Receiver<Question>, inboxes: Vec<Arc<Inbox>>, lookup: L)
where
    F: Future<Output = dns::Located> + Send + 'static,
    L: Fn(dns::Question) -> F,
{
    let (places, waiting) = (Arc::new(Semaphore::new(LOOKUPS)), Arc::new(Semaphore::new(QUESTIONS)));
    while let Some(Question { shard, query, host, port, transport }) = questions.recv().await {
        let inbox = Arc::clone(&inboxes[usize::from(shard)]);
        let Ok(waits) = Arc::clone(&waiting).try_acquire_owned() else {
            inbox.notice(Notice::unknown(query));
            continue;
        };
        let (places, found) = (Arc::clone(&places), lookup(dns::Question { host: host.clone(), port, transport }));
        tokio::spawn(async move {
            let looking = async {
                let _place = places.acquire_owned().await;
                found.await
            };
            let notice = match tokio::time::timeout(LOOKUP, looking).await {
                Ok(dns::Located { targets, ttl }) => Notice::Resolved { query, targets, ttl },
                Err(_) => {
                    tracing::debug!(%host, "a host cannot be looked up in time");
                    Notice::unknown(query)
                }
            };
            inbox.notice(notice);
            drop(waits);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplighter_model::Transport;
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    /// How many look-ups there are, and were at most.
    #[derive(Default)]
    struct UnderWay {
        now: AtomicUsize,
        most: AtomicUsize,
    }

    /// A look-up, until it has an answer or is given up.
    struct One(Arc<UnderWay>);

    impl One {
        fn begin(all: Arc<UnderWay>) -> Self {
            all.most.fetch_max(all.now.fetch_add(1, SeqCst) + 1, SeqCst);
            Self(all)
        }
    }

    impl Drop for One {
        fn drop(&mut self) {
            self.0.now.fetch_sub(1, SeqCst);
        }
    }

    fn question(query: u64, host: &str) -> Question {
        Question { shard: 0, query, host: host.into(), port: None, transport: Some(Transport::Tcp) }
    }

    /// A name server that does not answer: everyone is told so in time, and no more than the bound is under way.
    #[tokio::test(start_paused = true)]
    async fn look_ups_that_hang_are_bounded() {
        let inbox = Arc::new(Inbox::new(1).unwrap());
        let (asking, questions) = mpsc::channel(QUESTIONS);
        let (under_way, most) = (Arc::new(UnderWay::default()), QUESTIONS as u64 * 2);
        let count = Arc::clone(&under_way);
        let lookup = move |question: dns::Question| {
            let count = Arc::clone(&count);
            async move {
                let _one = One::begin(count);
                if &*question.host == "dark.example.com" {
                    std::future::pending::<()>().await;
                }
                let target = (question.transport.unwrap_or_default(), "192.0.2.1:5060".parse().unwrap());
                dns::Located { targets: vec![target], ttl: dns::LEAST }
            }
        };
        let work = tokio::spawn(serve(questions, vec![Arc::clone(&inbox)], lookup));
        let start = tokio::time::Instant::now();
        asking.send(question(0, "fast.example.com")).await.unwrap();
        for query in 1..most {
            asking.send(question(query, "dark.example.com")).await.unwrap();
        }
        let (mut answered, mut taken) = (BTreeMap::new(), Vec::new());
        while answered.len() < most as usize {
            tokio::time::sleep(Duration::from_millis(100)).await;
            inbox.notices(&mut taken);
            for notice in taken.drain(..) {
                let Notice::Resolved { query, targets, ttl } = notice else { panic!("{notice:?}") };
                assert!(answered.insert(query, (targets, ttl)).is_none());
            }
        }
        assert!(start.elapsed() <= LOOKUP + Duration::from_secs(1));
        let fast = answered.remove(&0).unwrap();
        assert_eq!(fast, (vec![(Transport::Tcp, "192.0.2.1:5060".parse().unwrap())], dns::LEAST));
        assert!(answered.values().all(|(targets, _)| targets.is_empty()));
        assert_eq!((under_way.now.load(SeqCst), under_way.most.load(SeqCst)), (0, LOOKUPS));
        work.abort();
    }
}
