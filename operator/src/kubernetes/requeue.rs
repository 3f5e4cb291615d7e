//! Queues of resources to reconcile.

use eventbus_api::EventConsumerGroup;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc::UnboundedSender;

/// Watched resource, or the error of one that this version cannot parse: the watch goes on with the others.
pub type MaybeInvalid = DeserializeGuard<EventConsumerGroup>;

/// Queues of all controllers, by the namespace that each watches; `None` is the controller of all namespaces.
#[derive(Clone, Debug)]
pub struct Requeue(Vec<(Option<String>, UnboundedSender<ObjectRef<MaybeInvalid>>)>);

impl Requeue {
    /// Creates the queues from one for each namespace.
    #[must_use]
    pub fn new(queues: Vec<(Option<String>, UnboundedSender<ObjectRef<MaybeInvalid>>)>) -> Self {
        Self(queues)
    }

    /// Requeues the resource `name` without delay.
    pub fn now(&self, namespace: &str, name: &str) {
        let fits = |scope: &Option<String>| scope.as_deref().is_none_or(|scope| scope == namespace);
        for (_, queue) in self.0.iter().filter(|(scope, _)| fits(scope)) {
            // A controller that has ended needs no requeue.
            queue.send(ObjectRef::new(name).within(namespace)).ok();
        }
    }
}
