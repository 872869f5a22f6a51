//! The bus as the SIP engine sees it.

use lamplighter_bus::Bus;
use lamplighter_model::package::{PackageId, Rendered, Rendering};
use lamplighter_model::{EntityTag, Publish, PublishError, Published, Record, ResourceId, Time};
use lamplighter_sip::Host;
use std::sync::Arc;

pub(crate) struct BusHost<'a> {
    pub bus: &'a mut Bus,
    pub records: &'a mut Vec<Record>,
}

impl Host for BusHost<'_> {
    fn publish(&mut self, now: Time, publish: Publish<'_>) -> Result<Published, PublishError> {
        self.bus.publish(now, publish)
    }

    fn resource(&mut self, address: &str, package: PackageId) -> Result<ResourceId, PublishError> {
        self.bus.resource(address, package)
    }

    fn address(&self, resource: ResourceId) -> Arc<str> {
        self.bus.name(resource).0.clone()
    }

    fn pin(&mut self, resource: ResourceId) {
        self.bus.pin(resource);
    }

    fn unpin(&mut self, now: Time, resource: ResourceId) {
        self.bus.unpin(now, resource);
    }

    fn body(&mut self, now: Time, resource: ResourceId, how: Rendering) -> Arc<Rendered> {
        self.bus.body(now, resource, how)
    }

    fn note(&mut self, now: Time, resource: ResourceId, what: &'static str, who: &str) {
        self.bus.note(now, resource, what, who);
    }

    fn save(&mut self, record: Record) {
        self.records.push(record);
    }

    fn tracing(&self) -> bool {
        self.bus.tracing()
    }

    fn trace(&mut self, now: Time, address: &str, what: &'static str, detail: String) {
        self.bus.trace(now, address, what, detail);
    }

    fn unsaved(&self) -> usize {
        self.bus.unsaved() + self.records.len()
    }

    fn undo(&mut self, now: Time, address: &str, package: PackageId, tag: EntityTag, created: bool) {
        self.bus.undo(now, address, package, tag, created);
    }
}
