//! What a feed client has at other servers: subscriptions and publications that end with its connection, and news of
//! those that were begun over HTTP. A task beside the session, for the few that want it.

use crate::auth::Principal;
use crate::exports;
use crate::http::Caller;
use crate::problem::{Kind, Problem};
use crate::publications::busy;
use crate::subscriptions;
use lamplighter_model::{PackageId, RemoteAnswer, RemoteCommand, RemoteThing, RemoteTold};
use lamplighter_port::{Item, Kinds, Listening, Scope, Selector};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{mpsc, watch};

/// Changed states of our own that are looked for at a time.
const AT_ONCE: usize = 256;

/// What a client asks for.
#[derive(Debug)]
pub(crate) enum Order {
    /// Subscribes, follows or renews.
    Subscribe(Map<String, Value>),
    /// Ends a subscription, or follows it no longer.
    Unsubscribe(u64),
    /// Publishes, follows, changes or refreshes.
    Publish(Map<String, Value>),
    /// Removes a publication, or follows it no longer.
    Withdraw(u64),
}

/// The session's end.
pub(crate) struct Desk {
    orders: mpsc::Sender<(u64, Order)>,
    frames: mpsc::Receiver<String>,
    principal: watch::Sender<Principal>,
}

impl Desk {
    /// A desk without anything on it; what is on it ends when this is dropped. At most `most` orders wait.
    pub(crate) fn open(caller: Caller, most: usize) -> Self {
        let (orders, ordered) = mpsc::channel(most.max(1));
        // A client that takes nothing makes the clerk wait, and news meanwhile give way to newer ones.
        let (told, frames) = mpsc::channel(1);
        let (principal, principals) = watch::channel(caller.principal.clone());
        tokio::spawn(Clerk::new(caller, principals).work(ordered, told));
        Self { orders, frames, principal }
    }

    /// Has something done; its answer is among the frames.
    pub(crate) fn order(&self, id: u64, order: Order) -> Result<(), Problem> {
        let full = |_| Problem::new(Kind::RateLimited, "too many orders wait already").later(1000);
        self.orders.try_send((id, order)).map_err(full)
    }

    /// Another token of the same principal. What it may not have any more ends with the next news of it.
    pub(crate) fn authorize(&self, principal: Principal) {
        self.principal.send_replace(principal);
    }

    /// The next frame.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<String>> {
        self.frames.poll_recv(context)
    }
}

/// The client's things at other servers.
struct Clerk {
    caller: Caller,
    principals: watch::Receiver<Principal>,
    /// None: this gateway talks to no others.
    listening: Option<Listening>,
    /// Subscriptions with where their states are on our own bus, if they are served from there; and publications.
    things: BTreeMap<RemoteThing, Option<(Arc<str>, PackageId)>>,
    own: Own,
    ready: VecDeque<String>,
}

/// States of our own bus that subscriptions want: they need no SIP.
struct Own {
    wanted: HashMap<(Arc<str>, PackageId), Vec<u64>>,
    /// `wanted` as a scope; none: it has changed.
    scope: Option<Scope>,
    head: watch::Receiver<u64>,
    rev: u64,
}

impl Clerk {
    /// A client that wants nothing yet.
    fn new(caller: Caller, principals: watch::Receiver<Principal>) -> Self {
        let head = caller.app.port.head();
        let rev = *head.borrow();
        let own = Own { wanted: HashMap::new(), scope: None, rev, head };
        Self { caller, principals, listening: None, things: BTreeMap::new(), own, ready: VecDeque::new() }
    }

    async fn work(mut self, mut orders: mpsc::Receiver<(u64, Order)>, frames: mpsc::Sender<String>) {
        loop {
            let text = tokio::select! {
                order = orders.recv() => match order {
                    Some((id, order)) => self.obey(id, order).await,
                    None => return,
                },
                text = self.next() => text,
            };
            if frames.send(text).await.is_err() {
                return;
            }
        }
    }

    /// The newest token counts.
    fn identify(&mut self) {
        if self.principals.has_changed().unwrap_or(false) {
            self.caller.principal = self.principals.borrow_and_update().clone();
        }
    }

    async fn obey(&mut self, id: u64, order: Order) -> String {
        self.identify();
        match self.order(order).await {
            Ok(mut ok) => {
                (ok["t"], ok["id"]) = ("ok".into(), id.into());
                ok.to_string()
            }
            Err(problem) => problem.frame(Some(id)),
        }
    }

    fn listening(&mut self) -> Result<&Listening, Problem> {
        if self.listening.is_none() {
            self.listening = self.caller.app.port.listen();
        }
        self.listening.as_ref().ok_or_else(subscriptions::silent)
    }

    fn room(&self) -> Result<(), Problem> {
        let most = self.caller.app.config.limits.resources;
        if self.things.len() >= most {
            return Err(Problem::new(Kind::TooManySubscriptions, format!("at most {most} a connection")));
        }
        Ok(())
    }

    /// Does what the client asks; gives what belongs into `ok`.
    async fn order(&mut self, order: Order) -> Result<Value, Problem> {
        match order {
            Order::Subscribe(members) => self.subscribe(members).await,
            Order::Publish(members) => self.publish(members).await,
            Order::Unsubscribe(number) => self.leave(RemoteThing::Subscription(number)).await,
            Order::Withdraw(number) => self.leave(RemoteThing::Publication(number)).await,
        }
    }

    async fn ask(&mut self, command: RemoteCommand, publishes: bool) -> Result<RemoteAnswer, Problem> {
        let answer = self.listening()?.ask(command).await.map_err(busy)?;
        subscriptions::answered(answer, publishes)
    }

    async fn subscribe(&mut self, members: Map<String, Value>) -> Result<Value, Problem> {
        self.room()?;
        if let Some(number) = members.get("number") {
            let number = number.as_u64().unwrap_or_default();
            let row = self.caller.subscription(number).await?;
            if let Some(expires) = subscriptions::renewal(&members)? {
                self.ask(RemoteCommand::Renew { id: row.id, expires }, false).await?;
            }
            return self.begin(RemoteCommand::Get(row.id)).await;
        }
        let wish = subscriptions::wish(&self.caller, subscriptions::from_frame(members)?)?;
        self.begin(RemoteCommand::Subscribe(Box::new(wish))).await
    }

    async fn begin(&mut self, command: RemoteCommand) -> Result<Value, Problem> {
        let RemoteAnswer::Subscription(row) = self.ask(command, false).await? else {
            return Err(Problem::new(Kind::Internal, "the answer is another one's"));
        };
        let thing = RemoteThing::Subscription(row.id);
        let own = row.local.clone().filter(|_| row.internal).map(|local| (local, row.wish.package));
        if let Some(own) = &own {
            if self.own.wanted.is_empty() {
                self.own.rev = *self.own.head.borrow();
            }
            let numbers = self.own.wanted.entry(own.clone()).or_default();
            if !numbers.contains(&row.id) {
                numbers.push(row.id);
            }
            self.own.scope = None;
        }
        self.things.insert(thing, own.clone());
        let fresh = !row.documents.is_empty();
        let text = subscriptions::news(&self.caller, &row, fresh).to_string();
        self.ready.push_back(text);
        if let Some((local, package)) = own
            && let Some(item) = self.caller.app.port.get(&local, package)
        {
            self.own_changed(&item);
        }
        Ok(json!({ "number": row.id }))
    }

    async fn publish(&mut self, members: Map<String, Value>) -> Result<Value, Problem> {
        self.room()?;
        let command = match members.get("number") {
            Some(number) => {
                let number = number.as_u64().unwrap_or_default();
                let row = self.caller.exported(number).await?;
                if let Some(command) = exports::change(&self.caller, &row, members)? {
                    self.ask(command, true).await?;
                }
                RemoteCommand::Publication(number)
            }
            None => RemoteCommand::Publish(Box::new(exports::record(&self.caller, exports::from_frame(members)?)?)),
        };
        let RemoteAnswer::Publication(row, _) = self.ask(command, true).await? else {
            return Err(Problem::new(Kind::Internal, "the answer is another one's"));
        };
        let number = row.number.unwrap_or_default();
        self.things.insert(RemoteThing::Publication(number), None);
        self.ready.push_back(exports::news(&self.caller, &row).to_string());
        Ok(json!({ "number": number }))
    }

    async fn leave(&mut self, thing: RemoteThing) -> Result<Value, Problem> {
        let unknown = || Problem::new(Kind::NotFound, "this connection has no such thing");
        if !self.things.contains_key(&thing) {
            return Err(unknown());
        }
        let answer = self.listening()?.leave(thing).await.map_err(busy)?;
        match answer {
            // How its removal went is still to be told.
            RemoteAnswer::Publication(..) => return Ok(json!({})),
            _ => self.forget(thing),
        }
        if answer == RemoteAnswer::Unknown { Err(unknown()) } else { Ok(json!({})) }
    }

    fn forget(&mut self, thing: RemoteThing) {
        if let (RemoteThing::Subscription(number), Some(Some(own))) = (thing, self.things.remove(&thing)) {
            if let Some(numbers) = self.own.wanted.get_mut(&own) {
                numbers.retain(|one| *one != number);
                if numbers.is_empty() {
                    self.own.wanted.remove(&own);
                }
            }
            self.own.scope = None;
        }
    }

    /// The next frame. Loses nothing when it is dropped before it is ready.
    async fn next(&mut self) -> String {
        loop {
            if let Some(text) = self.ready.pop_front() {
                return text;
            }
            let Some(listening) = &self.listening else { return std::future::pending().await };
            tokio::select! {
                (thing, told) = listening.next() => self.told(thing, told).await,
                changed = self.own.head.changed(), if !self.own.wanted.is_empty() => {
                    if changed.is_err() {
                        return std::future::pending().await;
                    }
                    self.look();
                }
            }
        }
    }

    async fn told(&mut self, thing: RemoteThing, told: RemoteTold) {
        self.identify();
        let known = self.things.contains_key(&thing);
        let allowed = match &told {
            RemoteTold::Subscription { row, .. } => self.caller.speaks_for(&row.wish),
            RemoteTold::Publication(row) => self.caller.sees_export(row),
            RemoteTold::Ended => true,
        };
        match told {
            RemoteTold::Ended if !known => {}
            // An answer came too late to be told, or the right is gone.
            _ if !known || !allowed => {
                if known {
                    self.forget(thing);
                    self.ready.push_back(ended(thing, "the token does not reach this far any more"));
                }
                if let Some(listening) = &self.listening {
                    let _ = listening.leave(thing).await; // news of it come again if it is too busy
                }
            }
            RemoteTold::Subscription { row, fresh } => {
                self.ready.push_back(subscriptions::news(&self.caller, &row, fresh).to_string());
            }
            RemoteTold::Publication(row) => {
                let over = row.state == "terminated";
                self.ready.push_back(exports::news(&self.caller, &row).to_string());
                if over {
                    self.forget(thing);
                }
            }
            RemoteTold::Ended => {
                self.forget(thing);
                self.ready.push_back(ended(thing, "somebody has ended it"));
            }
        }
    }

    /// Looks for what has changed of our own.
    fn look(&mut self) {
        self.identify();
        let scope = self.own.scope.get_or_insert_with(|| {
            let selectors = self.own.wanted.keys().map(|(local, _)| Selector::Exact(local.clone()));
            Scope::new(selectors, Kinds::ALL)
        });
        let mut items = Vec::new();
        loop {
            let cursor = self.caller.app.port.since(self.own.rev, scope, AT_ONCE, &mut items);
            self.own.rev = cursor.rev;
            if !cursor.more {
                break;
            }
        }
        for item in items {
            self.own_changed(&item);
        }
    }

    fn own_changed(&mut self, item: &Item) {
        let Some(numbers) = self.own.wanted.get(&(item.resource.clone(), item.package)) else { return };
        let Some(view) = self.caller.view(item) else { return };
        let text = item.json(self.caller.app.port.packages(), view);
        for number in numbers {
            self.ready.push_back(format!(
                "{{\"t\":\"remote_sub\",\"number\":{number},\"state\":\"active\",\"item\":{text}}}"
            ));
        }
    }
}

fn ended(thing: RemoteThing, why: &str) -> String {
    let (kind, number) = match thing {
        RemoteThing::Subscription(number) => ("remote_sub", number),
        RemoteThing::Publication(number) => ("remote_pub", number),
    };
    json!({ "t": kind, "number": number, "state": "terminated", "status": 0, "reason": why }).to_string()
}
