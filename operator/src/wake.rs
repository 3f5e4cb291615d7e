//! Waking a resource: its next reconcile begins at once.

use eventbus_api::EventConsumerGroup;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc::UnboundedSender;

use crate::wanted::ResourceId;

/// A resource as it is watched: one that this version cannot read must not stop the others.
pub type Guarded = DeserializeGuard<EventConsumerGroup>;

/// The ways to all controllers, by the namespace that each watches.
#[derive(Clone, Debug)]
pub struct Wake(Vec<(Option<String>, UnboundedSender<ObjectRef<Guarded>>)>);

impl Wake {
    /// One way for each namespace; `None` is the controller of all namespaces.
    #[must_use]
    pub fn new(ways: Vec<(Option<String>, UnboundedSender<ObjectRef<Guarded>>)>) -> Self {
        Self(ways)
    }

    /// Reconciles the resource soon.
    pub fn wake(&self, resource: &ResourceId) {
        self.wake_named(&resource.namespace, &resource.name);
    }

    /// Reconciles the resource of this name soon.
    pub fn wake_named(&self, namespace: &str, name: &str) {
        let fits = |scope: &Option<String>| scope.as_deref().is_none_or(|scope| scope == namespace);
        for (_, way) in self.0.iter().filter(|(scope, _)| fits(scope)) {
            // A controller that ended needs no waking.
            way.send(ObjectRef::new(name).within(namespace)).ok();
        }
    }
}
