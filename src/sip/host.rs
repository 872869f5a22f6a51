//! What the engine needs from whoever keeps the state. `src/shard` implements it once, over the bus.

use lamplighter_model::package::{PackageId, Rendered, Rendering};
use lamplighter_model::{EntityTag, Publish, PublishError, Published, Record, ResourceId, Time};
use std::sync::Arc;

/// The engine's view of the bus.
pub trait Host {
    /// Publishes; who must be told is learned from [`crate::Engine::changed`] afterwards.
    fn publish(&mut self, now: Time, publish: Publish<'_>) -> Result<Published, PublishError>;
    /// The resource of a canonical address and package, made if there is room.
    fn resource(&mut self, address: &str, package: PackageId) -> Result<ResourceId, PublishError>;
    /// Its canonical address.
    fn address(&self, resource: ResourceId) -> Arc<str>;
    /// Keeps the resource while a subscription lives.
    fn pin(&mut self, resource: ResourceId);
    /// The opposite.
    fn unpin(&mut self, now: Time, resource: ResourceId);
    /// The body for one rendering, shared by all who watch it so.
    fn body(&mut self, now: Time, resource: ResourceId, how: Rendering) -> Arc<Rendered>;
    /// Writes a happening into the resource's history.
    fn note(&mut self, now: Time, resource: ResourceId, what: &'static str, who: &str);
    /// Whether anything is being traced, so that [`Self::trace`] is worth its argument.
    fn tracing(&self) -> bool;
    /// Tells whoever follows this canonical address what has happened.
    fn trace(&mut self, now: Time, address: &str, what: &'static str, detail: String);
    /// Hands over a record for the store. Called only when records are wanted.
    fn save(&mut self, record: Record);
    /// How many records wait to be handed over.
    fn unsaved(&self) -> usize;
    /// The publication could not be saved, and its publisher is told so: a new one has not been, and the next tag of
    /// an older one is not known to its publisher.
    fn undo(&mut self, now: Time, address: &str, package: PackageId, tag: EntityTag, created: bool);
}
