//! What the configuration says about other servers.

use ipnet::IpNet;
use lamplighter_model::RemoteWish;
use lamplighter_sip::client;
use std::sync::Arc;
use std::time::Duration;

/// The most rules: what rules want is a bit each.
pub const MOST_RULES: usize = 64;

/// Everything that the machine is told.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Whether there are other servers at all. If not, only what is ours is served.
    pub elsewhere: bool,
    /// Who we are to other servers, and how patient.
    pub agent: client::Settings,
    /// The most internal subscriptions, those of the configuration included.
    pub most: usize,
    /// How long a dialog is kept after its last user has left.
    pub linger: Duration,
    /// Route headers of each first SUBSCRIBE, such as `<sip:edge.example;lr>`.
    pub routes: Vec<Box<str>>,
    /// Headers in every SUBSCRIBE.
    pub headers: Vec<client::Extra>,
    /// Subscriptions that always stand.
    pub watches: Vec<Watched>,
    /// What is published to whom, at most [`MOST_RULES`].
    pub rules: Vec<Rule>,
}

/// A subscription of the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Watched {
    /// What to subscribe to, under the gateway's own identity.
    pub wish: RemoteWish,
    /// The canonical address under which its state enters the bus, where it is not the resource.
    pub local: Option<Arc<str>>,
    /// The domain that members of a list have here, where it is another than there.
    pub domain: Option<Box<str>>,
}

/// What is published to one server.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rule {
    /// The server: a SIP URI that every PUBLISH goes to.
    pub server: Box<str>,
    /// The domain that resources have there, where it is another than here.
    pub domain: Option<Box<str>>,
    /// Who publishes: From. `None`: the presentity itself.
    pub publisher: Option<Box<str>>,
    /// The lease to ask for.
    pub expires: Option<Duration>,
    /// Headers in every PUBLISH.
    pub headers: Vec<client::Extra>,
    /// What these networks have published is not sent there: the server's own, lest it gets back what it said.
    pub except: Arc<[IpNet]>,
}
