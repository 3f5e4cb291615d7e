//! The queue of resources to reconcile.

use eventbus_api::EventConsumerGroup;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc::UnboundedSender;

/// A resource as it is watched: one that this version cannot read must not stop the others.
pub type MaybeInvalid = DeserializeGuard<EventConsumerGroup>;

/// The queues of all controllers, by the namespace that each watches; `None` is the controller of all namespaces.
#[derive(Clone, Debug)]
pub struct Requeue(Vec<(Option<String>, UnboundedSender<ObjectRef<MaybeInvalid>>)>);

impl Requeue {
    /// Takes one queue for each namespace.
    #[must_use]
    pub fn new(queues: Vec<(Option<String>, UnboundedSender<ObjectRef<MaybeInvalid>>)>) -> Self {
        Self(queues)
    }

    /// Reconciles the resource `name` as soon as there is room.
    pub fn now(&self, namespace: &str, name: &str) {
        let fits = |scope: &Option<String>| scope.as_deref().is_none_or(|scope| scope == namespace);
        for (_, queue) in self.0.iter().filter(|(scope, _)| fits(scope)) {
            // A controller that has ended reconciles nothing more.
            queue.send(ObjectRef::new(name).within(namespace)).ok();
        }
    }
}
