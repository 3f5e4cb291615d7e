//! Controllers and their watches, whose events update the caches and requeue the resources that they affect.

use std::sync::Arc;

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use kube::runtime::controller::{self, Controller};
use kube::runtime::reflector::{self, ObjectRef, store::Writer};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{Predicate, WatchStreamExt, predicates};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::CancellationToken;

use crate::kubernetes::cache::{Cache, Caches};
use crate::kubernetes::{MaybeInvalid, Requeue};
use crate::reconcile::context::Context;
use crate::reconcile::{after_failure, reconcile};
use crate::redis::GroupKey;
use crate::workload::MANAGED_BY;

/// Maximum number of concurrent reconciles of one controller; most of them only read.
const CONCURRENCY: u16 = 16;

/// Watches of one controller before it runs.
pub(super) struct Watch {
    cache: Cache,
    groups: Writer<MaybeInvalid>,
    deployments: Writer<Deployment>,
    requeued: UnboundedReceiver<ObjectRef<MaybeInvalid>>,
}

/// Creates the watches of each of `namespaces`, or of all namespaces if it is empty, with their caches and queues.
pub(super) fn watches(namespaces: &[String]) -> (Vec<Watch>, Caches, Requeue) {
    let scopes: Vec<Option<String>> = if namespaces.is_empty() {
        vec![None]
    } else {
        namespaces.iter().cloned().map(Some).collect()
    };
    let (mut watches, mut queues) = (Vec::new(), Vec::new());
    for namespace in scopes {
        let (groups, groups_writer) = reflector::store();
        let (deployments, deployments_writer) = reflector::store();
        let (queue, requeued) = unbounded_channel();
        queues.push((namespace.clone(), queue));
        watches.push(Watch {
            cache: Cache { namespace, groups, deployments, synced: Arc::default() },
            groups: groups_writer,
            deployments: deployments_writer,
            requeued,
        });
    }
    let caches = watches.iter().map(|watch| watch.cache.clone()).collect();
    (watches, Caches::new(caches), Requeue::new(queues))
}

/// Watches and reconciles until `stop`, then returns when the running reconciles have ended.
pub(super) async fn run(
    watch: Watch,
    context: Arc<Context>,
    requeue: Requeue,
    stop: CancellationToken,
) {
    let groups = groups(&context, &watch.cache, watch.groups, requeue);
    let deployments = deployments(&context, &watch.cache, watch.deployments);
    let requeued = futures::stream::unfold(watch.requeued, |mut requeued| async move {
        let next = requeued.recv().await?;
        Some((next, requeued))
    });
    let (synced, stopping) = (Arc::clone(&watch.cache.synced), stop.clone());
    let controller = Controller::for_stream(groups, watch.cache.groups)
        .with_config(controller::Config::default().concurrency(CONCURRENCY))
        .owns_stream(deployments)
        .reconcile_on(requeued)
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile, after_failure, context)
        .for_each(|result| {
            log(result.err());
            std::future::ready(())
        });
    // Before its resources are cached, a controller has begun no reconcile, and does not notice the stop: the watch may
    // never begin, for lack of permissions.
    let stopped_early = async {
        stopping.cancelled().await;
        if synced.has_groups() {
            std::future::pending().await
        }
    };
    tokio::select! {
        () = controller => {}
        () = stopped_early => {}
    }
}

/// Logs failed watches. The error policy has logged failed reconciles, and a deleted resource is no failure.
fn log<R: std::error::Error, Q: std::error::Error>(error: Option<controller::Error<R, Q>>) {
    match error {
        Some(controller::Error::QueueError(error)) => {
            tracing::warn!(error = eventbus::chain(&error), "watch failed; restarting it");
        }
        Some(controller::Error::RunnerError(error)) => {
            tracing::error!(error = eventbus::chain(&error), "controller failed");
        }
        Some(_) | None => {}
    }
}

/// Watches the resources, without changes of their status: the operator writes it, and each write would cause a
/// reconcile.
fn groups(
    context: &Arc<Context>,
    cache: &Cache,
    writer: Writer<MaybeInvalid>,
    requeue: Requeue,
) -> impl Stream<Item = Result<MaybeInvalid, watcher::Error>> + Send + use<> {
    let api = api::<MaybeInvalid>(&context.client, &cache.namespace);
    let (synced, context) = (Arc::clone(&cache.synced), Arc::clone(context));
    let (context_of_events, requeue_of_events) = (Arc::clone(&context), requeue.clone());
    watcher::watcher(api, watches_of(&context))
        .default_backoff()
        .reflect(writer)
        .inspect_ok(move |event| {
            on_event(event, &context_of_events, &requeue_of_events);
            if matches!(event, Event::InitDone) {
                synced.set_groups();
            }
        })
        .applied_objects()
        .predicate_filter(
            predicates::generation.combine(predicates::annotations),
            Default::default(),
        )
        .inspect_ok(move |changed| requeue_contenders(changed, &context, &requeue))
}

/// Watches the operator's Deployments with their status, which has the number of ready pods.
fn deployments(
    context: &Arc<Context>,
    cache: &Cache,
    writer: Writer<Deployment>,
) -> impl Stream<Item = Result<Deployment, watcher::Error>> + Send + use<> {
    let label = format!("app.kubernetes.io/managed-by={MANAGED_BY}");
    let api = api::<Deployment>(&context.client, &cache.namespace);
    let synced = Arc::clone(&cache.synced);
    watcher::watcher(api, watches_of(context).labels(&label))
        .default_backoff()
        .reflect(writer)
        .inspect_ok(move |event| {
            if matches!(event, Event::InitDone) {
                synced.set_deployments();
            }
        })
        .touched_objects()
}

/// Returns the settings of a watch. The library takes a watch for dead 5 s after its time limit.
fn watches_of(context: &Context) -> watcher::Config {
    let limit = u32::try_from(context.settings.watch.as_secs()).unwrap_or(u32::MAX);
    watcher::Config::default().timeout(limit)
}

fn api<K>(client: &Client, namespace: &Option<String>) -> Api<K>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Handles an event of the watch. A deleted resource releases its group to a contender; after an interruption of the
/// watch all resources are requeued, because events may be missing.
fn on_event(event: &Event<MaybeInvalid>, context: &Context, requeue: &Requeue) {
    match event {
        Event::Delete(gone) => {
            context.forget_deleted();
            requeue_contenders(gone, context, requeue);
        }
        Event::InitDone => {
            context.forget_deleted();
            for resource in context.caches.resources() {
                requeue.now(&resource.namespace().unwrap_or_default(), &resource.name_any());
            }
        }
        Event::Apply(resource) | Event::InitApply(resource) => {
            if let (Ok(resource), Some(uid)) = (&resource.0, resource.uid()) {
                context.observers.declare(&uid, GroupKey::of(resource, &context.endpoints));
            }
        }
        Event::Init => {}
    }
}

/// Requeues the other resources that declare a group of this stream and name, because its owner may have changed. They may
/// be on another Redis, which `changed` may have asked for before.
fn requeue_contenders(changed: &MaybeInvalid, context: &Context, requeue: &Requeue) {
    let Ok(changed) = &changed.0 else {
        return;
    };
    let key = GroupKey::of(changed, &context.endpoints);
    for resource in context.caches.resources() {
        let Ok(other) = &resource.0 else {
            continue;
        };
        if GroupKey::of(other, &context.endpoints).is_alike(&key) && other.uid() != changed.uid() {
            requeue.now(&other.namespace().unwrap_or_default(), &other.name_any());
        }
    }
}
